/* Bytes between the UART's interrupt and the main loop, one writer and one reader each. Sizes are powers of two. */
#include "board.h"
#include "device/wz_port.h"

#define RECEIVE_BYTES 256u
#define SEND_BYTES 64u

static volatile uint8_t receive_ring[RECEIVE_BYTES];
static volatile uint32_t receive_head; /* bytes taken out, ever */
static volatile uint32_t receive_tail; /* bytes put in, ever */
static volatile uint8_t send_ring[SEND_BYTES];
static volatile uint32_t send_head;
static volatile uint32_t send_tail;
volatile uint32_t uart_sending;

int uart_receive_room(void)
{
    return receive_tail - receive_head < RECEIVE_BYTES;
}

int uart_received(uint8_t byte)
{
    if (!uart_receive_room()) {
        return 0;
    }
    receive_ring[receive_tail % RECEIVE_BYTES] = byte;
    receive_tail++;
    return 1;
}

int uart_next_byte(uint8_t *byte)
{
    if (send_head == send_tail) {
        return 0;
    }
    *byte = send_ring[send_head % SEND_BYTES];
    send_head++;
    return 1;
}

int uart_idle(void)
{
    return receive_head == receive_tail;
}

size_t wz_port_read(uint8_t *bytes, size_t capacity)
{
    size_t count = 0;

    while (count < capacity && receive_head != receive_tail) {
        bytes[count++] = receive_ring[receive_head % RECEIVE_BYTES];
        receive_head++;
    }
    if (count) {
        disable_interrupts();
        uart_receive_more();
        enable_interrupts();
    }
    return count;
}

size_t wz_port_write(const uint8_t *bytes, size_t count)
{
    size_t sent = 0;

    while (sent < count && send_tail - send_head < SEND_BYTES) {
        send_ring[send_tail % SEND_BYTES] = bytes[sent++];
        send_tail++;
    }
    disable_interrupts();
    if (!uart_sending) {
        uart_send_next();
    }
    enable_interrupts();
    return sent;
}
