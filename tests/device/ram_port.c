/* See ram_port.h. */
#include "ram_port.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/wz_cbor.h"

ram_port_t port;
static uint32_t buffer[BUFFER_BYTES / 4];
static uint8_t queue[WZ_QUEUE_BYTES(BUFFER_BYTES)];
const wz_board_t board = {"memory", port.flash, PAGE_BYTES, SLOT_BYTES, (uint8_t *)buffer, sizeof buffer, queue, sizeof queue};

void abort_test(const char *what)
{
    fprintf(stderr, "%s\n", what);
    exit(1);
}

size_t read_file(const char *path, uint8_t *bytes, size_t capacity)
{
    FILE *file = fopen(path, "rb");
    size_t count = file ? fread(bytes, 1, capacity, file) : 0;

    if (count == 0) {
        abort_test(path);
    }
    fclose(file);
    return count;
}

uint32_t random_word(void)
{
    port.seed ^= port.seed << 13;
    port.seed ^= port.seed >> 17;
    port.seed ^= port.seed << 5;
    return port.seed;
}

void erase_all(void)
{
    memset(port.flash, 0xFF, FLASH_BYTES);
}

/* One step: a word, or a page, becomes what it should, in part, or not at all. */
static void step(uint8_t *at, const uint8_t *wanted, size_t count)
{
    size_t index;

    if (port.steps++ != port.cut_step || port.cut == CUT_BEHIND) {
        memcpy(at, wanted, count);
    } else if (port.cut == CUT_TORN) {
        for (index = 0; index < count; index++) {
            uint8_t done = (uint8_t)random_word();

            at[index] = (uint8_t)((at[index] & ~done) | (wanted[index] & done));
        }
    }
    if (port.steps == port.cut_step + 1) {
        longjmp(port.power_off, 1);
    }
}

int wz_port_flash(uint32_t offset, const uint32_t *words, uint32_t count)
{
    uint8_t wanted[PAGE_BYTES];
    uint32_t index;
    uint32_t byte;

    if (offset % 8 || offset + (words ? 4 * count : PAGE_BYTES) > FLASH_BYTES || (words == NULL && offset % PAGE_BYTES)) {
        abort_test("flash outside of the area");
    }
    if (port.fail_one_in && random_word() % port.fail_one_in == 0) {
        return 1;
    }
    if (words == NULL) {
        memset(wanted, 0xFF, sizeof wanted);
        step(port.flash + offset, wanted, PAGE_BYTES);
        return 0;
    }
    for (index = 0; index < count; index++) {
        memcpy(wanted, &words[index], 4);
        for (byte = 0; byte < 4; byte++) {
            wanted[byte] &= port.flash[offset + 4 * index + byte]; /* programming only clears bits */
        }
        step(port.flash + offset + 4 * index, wanted, 4);
    }
    return 0;
}

void wz_port_reset(void)
{
    longjmp(port.restart, 1);
}

size_t wz_port_read(uint8_t *bytes, size_t capacity)
{
    size_t left = port.in_bytes - port.in_at;
    size_t count = left < capacity ? left : capacity;

    memcpy(bytes, port.in + port.in_at, count);
    port.in_at += count;
    return count;
}

size_t wz_port_write(const uint8_t *bytes, size_t count)
{
    size_t index;

    if (count > port.out_room) {
        count = port.out_room;
    }
    for (index = 0; index < count; index++) {
        port.lines += bytes[index] == '\n';
    }
    port.out_room -= count;
    port.out_bytes += count;
    return count;
}

/* ------------------------------------------------------------------------------------------------ requests */

static void put_in(uint8_t byte)
{
    if (port.in_at == port.in_bytes) {
        port.in_at = 0;
        port.in_bytes = 0;
    }
    if (port.in_bytes < sizeof port.in) {
        port.in[port.in_bytes++] = byte;
    }
}

static unsigned crc16(const uint8_t *bytes, size_t count)
{
    unsigned crc = 0;
    int bit;

    while (count--) {
        crc ^= (unsigned)*bytes++ << 8;
        for (bit = 0; bit < 8; bit++) {
            crc = crc & 0x8000 ? crc << 1 ^ 0x1021 : crc << 1;
        }
    }
    return crc & 0xFFFF;
}

void send_message(const uint8_t *message, size_t count)
{
    static const char ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint8_t raw[1024] = {0};
    size_t index;
    unsigned crc = crc16(message, count);

    raw[0] = (uint8_t)((count + 2) >> 8);
    raw[1] = (uint8_t)(count + 2);
    memcpy(raw + 2, message, count);
    raw[count + 2] = (uint8_t)(crc >> 8);
    raw[count + 3] = (uint8_t)crc;
    count += 4;
    for (index = 0; index < count; index += 3) {
        uint32_t bits = (uint32_t)raw[index] << 16 | (uint32_t)raw[index + 1] << 8 | raw[index + 2];

        if (index % 93 == 0) {
            put_in(index ? 4 : 6);
            put_in(index ? 20 : 9);
        }
        put_in((uint8_t)ALPHABET[bits >> 18]);
        put_in((uint8_t)ALPHABET[bits >> 12 & 63]);
        put_in(count - index > 1 ? (uint8_t)ALPHABET[bits >> 6 & 63] : '=');
        put_in(count - index > 2 ? (uint8_t)ALPHABET[bits & 63] : '=');
        if (index % 93 == 90 || index + 3 >= count) {
            put_in('\n');
        }
    }
}

static void send_request(unsigned group, unsigned command, unsigned operation, const wz_answer_t *body, const uint8_t *start)
{
    uint8_t message[512];
    size_t count = (size_t)(body->at - start);

    memset(message, 0, 8);
    message[0] = (uint8_t)(8 | operation);
    message[2] = (uint8_t)(count >> 8);
    message[3] = (uint8_t)count;
    message[5] = (uint8_t)group;
    message[7] = (uint8_t)command;
    memcpy(message + 8, start, count);
    send_message(message, 8 + count);
}

void send_upload(uint32_t offset, uint32_t length, const uint8_t *bytes, size_t count)
{
    uint8_t raw[400];
    wz_answer_t body;

    wz_cbor_open(&body, raw, sizeof raw);
    wz_cbor_uint(&body, "off", offset);
    wz_cbor_uint(&body, "len", length);
    wz_cbor_key(&body, "data");
    wz_cbor_string(&body, WZ_CBOR_BYTES, bytes, count);
    send_request(1, 1, 2, &body, raw);
}

void send_state(const uint8_t *hash, int confirm)
{
    uint8_t raw[64];
    wz_answer_t body;

    wz_cbor_open(&body, raw, sizeof raw);
    wz_cbor_key(&body, "hash");
    wz_cbor_string(&body, WZ_CBOR_BYTES, hash, 4);
    wz_cbor_bool(&body, "confirm", confirm);
    send_request(1, 0, 2, &body, raw);
}

void send_plain(unsigned group, unsigned command, unsigned operation)
{
    uint8_t raw[4];
    wz_answer_t body;

    wz_cbor_open(&body, raw, sizeof raw);
    send_request(group, command, operation, &body, raw);
}
