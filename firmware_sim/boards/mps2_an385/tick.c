/* One interrupt a millisecond, from the timer in the core. */
#include "board.h"

#define SYSTICK_CONTROL REGISTER(0xE000E010u)
#define SYSTICK_RELOAD REGISTER(0xE000E014u)
#define SYSTICK_VALUE REGISTER(0xE000E018u)

void systick_handler(void);

void tick_start(void)
{
    SYSTICK_RELOAD = CLOCK_HZ / 1000 - 1;
    SYSTICK_VALUE = 0;
    SYSTICK_CONTROL = 7;
}

void systick_handler(void)
{
    tick_ms++;
}
