/* Throws bytes at the device, from noise to requests that are almost right, while it samples and its wire and flash misbehave.
 *
 *     fuzz INPUTS SEED IMAGE
 *
 * Built with sanitizers. After each 64 inputs the wire and the flash behave, and a good request must be answered. Prints what happened.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ram_port.h"

static wz_device_t device;
static uint8_t image[SLOT_BYTES];
static size_t image_bytes;
static unsigned long restarts;
static unsigned long trials;
static unsigned long requests;

static void poll_device(void)
{
    uint8_t trial = device.trial;

    port.out_room = random_word() % 200;
    wz_device_poll(&device, random_word() % 4096 == 0 ? 20000 : random_word() % 3);
    trials += !trial && device.trial;
    if (device.queue.count > board.queue_bytes || device.queue.head >= board.queue_bytes || (device.line_bytes && device.line_sent >= device.line_bytes) ||
        device.events > WZ_DEVICE_EVENTS) {
        abort_test("the state is broken");
    }
}

static void noise(void)
{
    static const uint8_t LIKELY[] = {6, 9, 4, 20, '\n', '=', 'A', '/', '+', 0};
    unsigned count = 1 + random_word() % 40;

    while (count--) {
        uint8_t byte = random_word() % 3 ? (uint8_t)random_word() : LIKELY[random_word() % sizeof LIKELY];

        if (port.in_bytes < sizeof port.in) {
            port.in[port.in_bytes++] = byte;
        }
    }
}

/* A request that is right: of any command. */
static void request(void)
{
    static uint32_t offset;
    static const uint8_t COMMAND[][3] = {{0, 6, 0}, {1, 0, 0}, {64, 0, 0}, {64, 1, 0}, {64, 2, 0}, {64, 3, 0}, {64, 4, 2}, {64, 5, 2}, {0, 5, 2}};
    unsigned kind = random_word() % 16;

    if (kind < sizeof COMMAND / sizeof *COMMAND) {
        if (kind != 8 || random_word() % 8 == 0) {
            send_plain(COMMAND[kind][0], COMMAND[kind][1], COMMAND[kind][2]);
        }
    } else if (kind < 12) {
        size_t left = image_bytes - offset;
        size_t count = left < 160 ? left : 160;

        send_upload(offset, (uint32_t)image_bytes, image + offset, count);
        offset = left <= 160 ? 0 : offset + 160;
    } else {
        send_state(image + image_bytes - 4, kind == 15);
    }
}

/* Bytes changed, put in or taken out of what the device is going to read. */
static void spoil(size_t from)
{
    unsigned times = 1 + random_word() % 3;

    while (times-- && port.in_bytes > from) {
        size_t at = from + random_word() % (port.in_bytes - from);

        switch (random_word() % 3) {
        case 0:
            port.in[at] ^= (uint8_t)(1u << random_word() % 8);
            break;
        case 1:
            memmove(port.in + at, port.in + at + 1, port.in_bytes - at - 1);
            port.in_bytes--;
            break;
        default:
            if (port.in_bytes < sizeof port.in) {
                memmove(port.in + at + 1, port.in + at, port.in_bytes - at);
                port.in[at] = (uint8_t)random_word();
                port.in_bytes++;
            }
        }
    }
}

/* A whole message, so that the CBOR behind the check is reached: random, or with small maps. */
static void body(void)
{
    static const uint8_t PIECES[][6] = {{0x61, 'd'}, {0x63, 'o', 'f', 'f'}, {0x63, 'l', 'e', 'n'}, {0x64, 'd', 'a', 't', 'a'},
                                        {0x63, 's', 'h', 'a'}, {0x64, 'h', 'a', 's', 'h'}, {0x1A, 255, 255, 255, 255}, {0x42, 1, 2},
                                        {0x5A, 0, 0, 0, 4}, {0xF5}, {0xBF, 0xFF}, {0x7F}, {0x1B, 0, 0, 0, 1}, {0x62, 1, 2}};
    uint8_t message[256] = {10, 0, 0, 0, 0, 1, 0, 1};
    size_t count = 9;
    unsigned pieces = random_word() % 10;

    message[0] = (uint8_t)(random_word() % 2 ? 10 : 8);
    message[5] = (uint8_t)(random_word() % 3 == 0 ? 64 : random_word() % 3);
    message[7] = (uint8_t)(random_word() % 7);
    message[8] = (uint8_t)(0xA0 | random_word() % 6);
    while (pieces--) {
        size_t index;
        const uint8_t *piece = PIECES[random_word() % (sizeof PIECES / sizeof *PIECES)];

        for (index = 0; index < 6 && (index == 0 || piece[index]); index++) {
            message[count++] = random_word() % 16 ? piece[index] : (uint8_t)random_word();
        }
    }
    message[3] = (uint8_t)(random_word() % 16 ? count - 8 : random_word());
    send_message(message, count);
}

static void input(void)
{
    size_t from;

    if (port.in_at == port.in_bytes) {
        port.in_at = port.in_bytes = 0;
    }
    from = port.in_bytes;
    switch (random_word() % 5) {
    case 0:
        noise();
        break;
    case 1:
        body();
        break;
    case 2:
        request();
        break;
    default:
        request();
        spoil(from);
    }
}

static void drain(void)
{
    int times;

    for (times = 0; times < 20; times++) {
        port.out_room = 4096;
        wz_device_poll(&device, 0);
    }
}

static void must_answer(void)
{
    uint32_t before;

    port.fail_one_in = 0;
    port.in_at = port.in_bytes = 0;
    port.in[port.in_bytes++] = '\n'; /* what was begun ends here */
    drain();
    before = device.counter[WZ_REQUESTS];
    send_plain(64, 2, 0);
    drain();
    if (device.counter[WZ_REQUESTS] != before + 1 || device.line_bytes != 0) {
        abort_test("a good request was not answered");
    }
}

int main(int count, char **argument)
{
    static unsigned long done;
    unsigned long inputs;

    if (count != 4) {
        return 2;
    }
    inputs = strtoul(argument[1], NULL, 10);
    port.seed = (uint32_t)strtoul(argument[2], NULL, 10) | 1;
    image_bytes = read_file(argument[3], image, SLOT_BYTES);
    port.cut_step = -2;
    erase_all();
    restarts += setjmp(port.restart) != 0;
    requests += device.counter[WZ_REQUESTS];
    wz_device_start(&device, &board);
    while (done < inputs) {
        done++;
        port.fail_one_in = random_word() % 4 ? 0 : 20;
        input();
        if (random_word() % 2) {
            wz_device_sample(&device, (int16_t)random_word());
        } else if (random_word() % 8 == 0) {
            wz_device_absent(&device);
        }
        do {
            poll_device();
        } while (port.in_at != port.in_bytes && port.in_bytes > sizeof port.in / 2);
        if (done % 64 == 0) {
            must_answer();
        }
    }
    requests += device.counter[WZ_REQUESTS];
    printf("inputs %lu requests %lu restarts %lu trials %lu\n", done, requests, restarts, trials);
    return 0;
}
