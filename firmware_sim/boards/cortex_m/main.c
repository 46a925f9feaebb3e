/* The firmware: device, recording, sleep. Flash is RAM that a restart leaves alone. */
#include "../common/recording.h"
#include "board.h"

enum { FLASH_BYTES = 2 * PAGE_BYTES + 2 * SLOT_BYTES, RESET_WAIT_MS = 500 };

__attribute__((section(".noinit"), aligned(8))) static uint8_t flash[FLASH_BYTES];
static uint32_t buffer[BUFFER_BYTES / 4];
static uint8_t queue[WZ_QUEUE_BYTES(BUFFER_BYTES)];
static wz_device_t device;

static const wz_board_t board = {BOARD_NAME, flash, PAGE_BYTES, SLOT_BYTES, (uint8_t *)buffer, sizeof buffer, queue, sizeof queue};

int wz_port_flash(uint32_t offset, const uint32_t *words, uint32_t count)
{
    volatile uint32_t *at = (volatile uint32_t *)(void *)(flash + offset);
    uint32_t index;

    for (index = 0; index < (words ? count : PAGE_BYTES / 4); index++) {
        at[index] = words ? at[index] & words[index] : 0xFFFFFFFFu;
    }
    return 0;
}

/* The answer is still on its way out. */
void wz_port_reset(void)
{
    uint32_t begun_ms = tick_ms;

    while (uart_sending && tick_ms - begun_ms < RESET_WAIT_MS) {
    }
    AIRCR = 0x05FA0004u;
    for (;;) {
    }
}

int main(void)
{
    uint32_t last_ms = 0;

    uart_start();
    wz_device_start(&device, &board);
    for (;;) {
        int played = recording_play(&device);
        uint32_t now_ms = tick_ms;

        wz_device_poll(&device, now_ms - last_ms);
        last_ms = now_ms;
        disable_interrupts(); /* a byte that comes between the test and the sleep still ends the sleep */
        if (!played && uart_idle()) {
            __asm volatile("wfi");
        }
        enable_interrupts();
    }
}
