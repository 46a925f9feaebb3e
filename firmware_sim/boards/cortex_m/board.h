/* What the files of one board give to those that all Cortex-M boards share. */
#ifndef BOARD_H
#define BOARD_H

#include <stddef.h>
#include <stdint.h>

#include "board_sizes.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))
#define NVIC_ENABLE REGISTER(0xE000E100u)
#define NVIC_PEND REGISTER(0xE000E200u)
#define AIRCR REGISTER(0xE000ED0Cu)

static inline void disable_interrupts(void)
{
    __asm volatile("cpsid i" ::: "memory");
}

static inline void enable_interrupts(void)
{
    __asm volatile("cpsie i" ::: "memory");
}

/* The UART of the board. */
void uart_start(void);
void uart_send_next(void);    /* after bytes were put into an idle ring: send the first */
void uart_receive_more(void); /* there is room again: unmask what `uart_received` refused */
void uart_tick(void);         /* by the tick of a board whose UART may fail to interrupt */

/* Rings between the interrupt and the main loop (rings.c). */
int uart_received(uint8_t byte);  /* by the interrupt; 0 when full: leave the byte in the UART and mask the interrupt */
int uart_receive_room(void);
int uart_next_byte(uint8_t *byte); /* by the interrupt; 0: nothing to send */
int uart_idle(void);              /* nothing received, nothing more to send: sleep */

extern volatile uint32_t uart_sending; /* a byte is in the transmitter; the interrupt will come */

void tick_start(void); /* from here on an interrupt adds to `tick_ms` */
extern volatile uint32_t tick_ms;

int main(void);

#endif
