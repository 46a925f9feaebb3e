/* Images and the journal in flash (SPEC 12.4 to 12.6): what survives a power cut at any write.
 *
 * The slot that a restart would run is never erased or written, and one appended record makes another slot permanent; so whatever is cut,
 * the state read afterwards is that before or that after.
 */
#ifndef WZ_SLOTS_H
#define WZ_SLOTS_H

#include "../wz.h"
#include "wz_port.h"

#define WZ_SLOT_NONE 255u
#define WZ_IMAGE_HEADER_BYTES 32u
#define WZ_IMAGE_CHECK_BYTES 4u
#define WZ_IMAGE_SHARED 1u

typedef struct {
    const wz_board_t *board;
    uint32_t next;      /* journal bytes used up to the page that `generation` is of: where the next record goes */
    uint16_t epoch;     /* of the last restart of the encoder; 65535 before the first */
    uint8_t confirmed;  /* slot, or WZ_SLOT_NONE */
    uint8_t generation;
} wz_slots_t;

/* Read the journal. */
void wz_slots_open(wz_slots_t *slots, const wz_board_t *board);

/* Append a record; 0 if the flash failed, and then what it says does not hold. */
int wz_slots_record(wz_slots_t *slots, uint16_t epoch, unsigned confirmed);

const uint8_t *wz_slot(const wz_slots_t *slots, unsigned slot);

/* Erase a whole slot; program `count` bytes (multiple of 8) at an offset in it (multiple of 8). 0 if the flash failed. */
int wz_slot_erase(const wz_slots_t *slots, unsigned slot);
int wz_slot_write(const wz_slots_t *slots, unsigned slot, uint32_t offset, const uint8_t *bytes, uint32_t count);

/* NULL if the slot holds an image that keeps every rule, and then `model` is open; else why not, in a word or two. */
const char *wz_slot_refuse(const wz_slots_t *slots, unsigned slot, wz_model_t *model);

/* Fields of an image that was not refused. */
const uint8_t *wz_image_check(const uint8_t *image); /* 4 bytes */
void wz_image_node(const uint8_t *image, wz_node_t *node); /* all but the boot epoch */
uint32_t wz_image_trial_s(const uint8_t *image);

#endif
