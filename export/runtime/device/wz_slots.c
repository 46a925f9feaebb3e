/* Images and journal: see wz_slots.h. */
#include "wz_slots.h"

#include "../packet.h"
#include "wz_bytes.h"

enum { RECORD_BYTES = 8, CHUNK_BYTES = 32 };

static uint32_t slot_offset(const wz_board_t *board, unsigned slot)
{
    return 2 * board->page_bytes + slot * board->slot_bytes;
}

const uint8_t *wz_slot(const wz_slots_t *slots, unsigned slot)
{
    return slots->board->flash + slot_offset(slots->board, slot);
}

/* Program, then read back. */
static int program(const wz_board_t *board, uint32_t offset, const uint32_t *words, uint32_t count)
{
    return wz_port_flash(offset, words, count) == 0 && wz_same(board->flash + offset, words, 4 * (size_t)count);
}

/* ------------------------------------------------------------------------------------------------ journal */

/* The last valid record of a page into `found`; 0 if it has none. `*used`: bytes up to the last pair that is not erased. */
static int last_record(const uint8_t *page, uint32_t page_bytes, uint32_t *found, uint32_t *used)
{
    uint32_t at;
    int any = 0;

    *used = 0;
    for (at = 0; at < page_bytes; at += RECORD_BYTES) {
        uint32_t record = wz_little32(page + at);
        uint32_t inverse = wz_little32(page + at + 4);

        if ((record & inverse) != 0xFFFFFFFFu) {
            *used = at + RECORD_BYTES;
        }
        if (record == (uint32_t)~inverse) {
            *found = record;
            any = 1;
        }
    }
    return any;
}

void wz_slots_open(wz_slots_t *slots, const wz_board_t *board)
{
    uint32_t newest = 0;
    uint32_t page;
    int any = 0;

    slots->board = board;
    slots->next = 2 * board->page_bytes; /* nothing yet: the first record begins page 0 */
    slots->epoch = 65535;
    slots->confirmed = WZ_SLOT_NONE;
    slots->generation = 255;
    for (page = 0; page < 2; page++) {
        uint32_t record = 0;
        uint32_t used;

        if (!last_record(board->flash + page * board->page_bytes, board->page_bytes, &record, &used)) {
            continue;
        }
        if (any && (uint8_t)((record >> 24) - (newest >> 24)) >= 128) {
            continue;
        }
        any = 1;
        newest = record;
        slots->next = page * board->page_bytes + used;
        slots->epoch = (uint16_t)record;
        slots->confirmed = (uint8_t)(record >> 16);
        slots->generation = (uint8_t)(record >> 24);
    }
}

/* A page that is full ends where the other one begins; page 1 ends where page 0 does again. */
static int turn_page(wz_slots_t *slots)
{
    uint32_t page_bytes = slots->board->page_bytes;

    if (slots->next == 2 * page_bytes) {
        slots->next = 0;
    }
    if (slots->next != 0 && slots->next != page_bytes) {
        return 1;
    }
    slots->generation++;
    return wz_port_flash(slots->next, NULL, 0) == 0;
}

int wz_slots_record(wz_slots_t *slots, uint16_t epoch, unsigned confirmed)
{
    uint32_t words[2];
    uint32_t at;

    if (!turn_page(slots)) {
        return 0;
    }
    words[0] = epoch | (uint32_t)confirmed << 16 | (uint32_t)slots->generation << 24;
    words[1] = ~words[0];
    at = slots->next;
    slots->next += RECORD_BYTES;
    if (!program(slots->board, at, words, 2)) {
        return 0;
    }
    slots->epoch = epoch;
    slots->confirmed = (uint8_t)confirmed;
    return 1;
}

/* ------------------------------------------------------------------------------------------------ slots */

int wz_slot_erase(const wz_slots_t *slots, unsigned slot)
{
    const wz_board_t *board = slots->board;
    uint32_t at = slot_offset(board, slot);
    uint32_t end = at + board->slot_bytes;

    for (; at < end; at += board->page_bytes) {
        if (wz_port_flash(at, NULL, 0) != 0) {
            return 0;
        }
    }
    return 1;
}

int wz_slot_write(const wz_slots_t *slots, unsigned slot, uint32_t offset, const uint8_t *bytes, uint32_t count)
{
    uint32_t words[CHUNK_BYTES / 4]; /* flash takes words, and what came over the wire lies on any byte */
    uint32_t base = slot_offset(slots->board, slot) + offset;
    uint32_t done;

    for (done = 0; done < count; done += CHUNK_BYTES) {
        uint32_t part = count - done < CHUNK_BYTES ? count - done : CHUNK_BYTES;

        wz_copy(words, bytes + done, part);
        if (!program(slots->board, base + done, words, part / 4)) {
            return 0;
        }
    }
    return 1;
}

/* ------------------------------------------------------------------------------------------------ images */

static uint32_t blob_bytes(const uint8_t *image)
{
    return wz_little32(image + 8);
}

const uint8_t *wz_image_check(const uint8_t *image)
{
    return image + WZ_IMAGE_HEADER_BYTES + blob_bytes(image);
}

uint32_t wz_image_trial_s(const uint8_t *image)
{
    return wz_little32(image + 12);
}

void wz_image_node(const uint8_t *image, wz_node_t *node)
{
    node->period_us = wz_little32(image + 24) | (uint64_t)wz_little32(image + 28) << 32;
    node->start_ms = 0;
    node->node_id = (uint16_t)wz_little32(image + 6);
    node->link = image[5] & WZ_IMAGE_SHARED ? WZ_LINK_SHARED : WZ_LINK_ADDRESSED;
}

static int fields_hold(const uint8_t *image)
{
    uint32_t trial = wz_image_trial_s(image);
    uint32_t period_high = wz_little32(image + 28);

    return (image[5] & ~WZ_IMAGE_SHARED) == 0 && image[7] < 128 && trial != 0 && trial <= 65535 && period_high < 256 &&
           (period_high | wz_little32(image + 24)) != 0;
}

static const char *blob_fault(wz_status_t status)
{
    switch (status) {
    case WZ_OK:
        return NULL;
    case WZ_BLOB_NEWER:
        return "blob version";
    case WZ_BLOB_CHECK:
        return "blob check";
    case WZ_BLOB_SCHEME:
        return "blob scheme";
    case WZ_BLOB_OVERFLOW:
        return "blob overflow";
    case WZ_BLOB_TABLE:
        return "blob table";
    default:
        return "blob";
    }
}

const char *wz_slot_refuse(const wz_slots_t *slots, unsigned slot, wz_model_t *model)
{
    const uint8_t *image = wz_slot(slots, slot);
    uint32_t room = slots->board->slot_bytes - WZ_IMAGE_HEADER_BYTES - WZ_IMAGE_CHECK_BYTES;
    const char *fault;

    if (!wz_same(image, "WZIM", 4)) {
        return "image magic";
    }
    if (image[4] != 1) {
        return "image version";
    }
    if (blob_bytes(image) > room || blob_bytes(image) % 4) {
        return "image length";
    }
    if ((uint32_t)~wz_crc32(0xFFFFFFFFu, image, WZ_IMAGE_HEADER_BYTES + blob_bytes(image)) != wz_little32(wz_image_check(image))) {
        return "image check";
    }
    if (!fields_hold(image)) {
        return "image field";
    }
    fault = blob_fault(wz_model_open(model, image + WZ_IMAGE_HEADER_BYTES, blob_bytes(image), image + 16, NULL));
    if (fault == NULL && wz_buffer_bytes(model) > slots->board->buffer_bytes) {
        fault = "buffer";
    }
    return fault;
}
