/* From reset to main: vectors, memory, tick. */
#include "board.h"

extern uint32_t _data_start, _data_end, _data_load, _bss_start, _bss_end, _stack_top;

volatile uint32_t tick_ms;

void *memset(void *to, int byte, size_t count);
void *memcpy(void *to, const void *from, size_t count);
void reset_handler(void);
void systick_handler(void) __attribute__((weak, alias("stop")));
void stop(void);
void irq0(void) __attribute__((weak, alias("stop")));
void irq1(void) __attribute__((weak, alias("stop")));
void irq2(void) __attribute__((weak, alias("stop")));
void irq8(void) __attribute__((weak, alias("stop")));

/* The compiler calls these two for structs. */
void *memset(void *to, int byte, size_t count)
{
    volatile uint8_t *at = to; /* volatile: or this loop would be compiled to a call of itself */

    while (count--) {
        *at++ = (uint8_t)byte;
    }
    return to;
}

void *memcpy(void *to, const void *from, size_t count)
{
    volatile uint8_t *at = to;
    const uint8_t *source = from;

    while (count--) {
        *at++ = *source++;
    }
    return to;
}

/* A fault, or an interrupt nobody asked for: restart, which ends a trial too. */
void stop(void)
{
    AIRCR = 0x05FA0004u;
    for (;;) {
    }
}

void reset_handler(void)
{
    uint32_t *to;
    const uint32_t *from = &_data_load;

    for (to = &_data_start; to < &_data_end; to++) {
        *to = *from++;
    }
    for (to = &_bss_start; to < &_bss_end; to++) {
        *to = 0;
    }
    tick_start();
    main();
}

typedef void (*vector_t)(void);

__attribute__((section(".vectors"), used)) static const vector_t vectors[16 + 9] = {
    (vector_t)&_stack_top, reset_handler, stop, stop, stop, stop, stop, stop, stop, stop, stop, stop, stop, stop, stop, systick_handler,
    irq0, irq1, irq2, stop, stop, stop, stop, stop, irq8,
};
