/* One interrupt a millisecond, from timer 0: the nRF51 has no SysTick. */
#include "board.h"

#define TIMER(offset) REGISTER(0x40008000u + (offset))
#define START TIMER(0x000)
#define COMPARE TIMER(0x140)
#define SHORTS TIMER(0x200)
#define INTERRUPT_SET TIMER(0x304)
#define BIT_MODE TIMER(0x508)
#define PRESCALER TIMER(0x510)
#define COMPARE_VALUE TIMER(0x540)

#define ON_COMPARE (1u << 16)
#define COMPARE_CLEARS 1u
#define TIMER_INTERRUPT 8

void irq8(void);

void tick_start(void)
{
    BIT_MODE = 3;
    PRESCALER = 4; /* a microsecond */
    COMPARE_VALUE = 1000;
    SHORTS = COMPARE_CLEARS;
    INTERRUPT_SET = ON_COMPARE;
    NVIC_ENABLE = 1u << TIMER_INTERRUPT;
    START = 1;
}

void irq8(void)
{
    COMPARE = 0;
    tick_ms++;
    uart_tick();
}
