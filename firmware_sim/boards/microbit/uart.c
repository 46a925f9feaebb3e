/* UART of the nRF51: one event for each byte received and sent. */
#include "board.h"

#define UART(offset) REGISTER(0x40002000u + (offset))
#define START_RECEIVE UART(0x000)
#define START_SEND UART(0x008)
#define RECEIVED UART(0x108)
#define SENT UART(0x11C)
#define INTERRUPT_SET UART(0x304)
#define INTERRUPT_CLEAR UART(0x308)
#define ENABLE UART(0x500)
#define RECEIVE_BYTE UART(0x518)
#define SEND_BYTE UART(0x51C)
#define BAUD_RATE UART(0x524)

#define ON_RECEIVED (1u << 2)
#define ON_SENT (1u << 7)
#define BAUD_115200 0x01D7E000u
#define UART_INTERRUPT 2

void irq2(void);

void uart_start(void)
{
    BAUD_RATE = BAUD_115200;
    ENABLE = 4;
    START_RECEIVE = 1;
    START_SEND = 1;
    INTERRUPT_SET = ON_RECEIVED | ON_SENT;
    NVIC_ENABLE = 1u << UART_INTERRUPT;
}

void uart_send_next(void)
{
    uint8_t byte;

    uart_sending = (uint32_t)uart_next_byte(&byte);
    if (uart_sending) {
        SEND_BYTE = byte;
    }
}

void uart_receive_more(void)
{
    INTERRUPT_SET = ON_RECEIVED;
}

/* When the terminal was full, QEMU 7.2 sends the byte later without looking at the interrupt line; any write makes it look. */
void uart_tick(void)
{
    INTERRUPT_SET = ON_SENT;
}

void irq2(void)
{
    if (SENT) {
        SENT = 0;
        uart_send_next();
    }
    if (!RECEIVED) {
        return;
    }
    if (uart_receive_room()) {
        RECEIVED = 0; /* before the byte is read: the next one may set it again */
        uart_received((uint8_t)RECEIVE_BYTE);
    } else {
        INTERRUPT_CLEAR = ON_RECEIVED;
    }
}
