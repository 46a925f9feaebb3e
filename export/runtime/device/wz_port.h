/* What a board gives the device: four functions and one description. docs/PORTING.md has worked sketches.
 *
 * None of them may block for longer than the board can go without taking a sample: read and write move what fits now and say how
 * much that was. All are called from wz_device_start and wz_device_poll only, never from wz_device_sample.
 */
#ifndef WZ_PORT_H
#define WZ_PORT_H

#include <stddef.h>
#include <stdint.h>

#define WZ_QUEUE_BYTES(buffer_bytes) (2 * (buffer_bytes) + 96) /* two packets and two hellos */

/* Flash that the device owns, memory mapped: [journal page][journal page][slot A][slot B], without gaps. */
typedef struct {
    const char *name;       /* at most 12 characters */
    const uint8_t *flash;   /* where the area lies in memory; on a multiple of 8 */
    uint32_t page_bytes;    /* smallest unit of erase, multiple of 8 */
    uint32_t slot_bytes;    /* multiple of page_bytes */
    uint8_t *buffer;        /* for the packet being filled; on a multiple of 4 */
    uint32_t buffer_bytes;  /* of it: models whose packets need more are refused */
    uint8_t *queue;         /* frames on their way out */
    uint32_t queue_bytes;   /* of it: at least WZ_QUEUE_BYTES(buffer_bytes) */
} wz_board_t;

/* Received bytes, at most `capacity`; returns how many. Bytes that are not taken have to wait in the port. */
size_t wz_port_read(uint8_t *bytes, size_t capacity);

/* Hand bytes to the sender; returns how many it took, 0 when it is full. */
size_t wz_port_write(const uint8_t *bytes, size_t count);

/* Program `count` words (even) at a byte offset of the area (multiple of 8) that has been erased; or, with `words` NULL, erase the page
 * that begins there. Returns 0, anything else when the flash says that it failed. What was written is read back by the caller. */
int wz_port_flash(uint32_t offset, const uint32_t *words, uint32_t count);

/* Restart; does not return. */
void wz_port_reset(void);

#endif
