/* CMSDK UART 0: an interrupt each for receiving and sending. */
#include "board.h"

#define UART(offset) REGISTER(0x40004000u + (offset))
#define DATA UART(0x00)
#define STATE UART(0x04)
#define CONTROL UART(0x08)
#define INTERRUPT UART(0x0C)
#define BAUD_DIVIDER UART(0x10)

#define SEND_FULL 1u
#define RECEIVE_FULL 2u
#define SENT 1u
#define RECEIVED 2u
#define ENABLE_ALL 15u /* sender, receiver, and an interrupt of each */
#define RECEIVE_INTERRUPT 0

void irq0(void);
void irq1(void);

void uart_start(void)
{
    BAUD_DIVIDER = CLOCK_HZ / 115200;
    CONTROL = ENABLE_ALL;
    NVIC_ENABLE = 3;
}

void uart_send_next(void)
{
    uint8_t byte;

    uart_sending = 1;
    if (uart_next_byte(&byte)) {
        DATA = byte;
    } else {
        uart_sending = 0;
    }
}

/* A byte that was left in the UART asks no second time: ask for it. */
void uart_receive_more(void)
{
    if (STATE & RECEIVE_FULL) {
        NVIC_PEND = 1u << RECEIVE_INTERRUPT;
    }
}

void irq0(void)
{
    INTERRUPT = RECEIVED;
    if ((STATE & RECEIVE_FULL) && uart_receive_room()) {
        uart_received((uint8_t)DATA);
    }
}

void irq1(void)
{
    INTERRUPT = SENT;
    uart_send_next();
}
