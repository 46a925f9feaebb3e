/* SMP messages on a serial console: base64 lines with markers, a length and a CRC-16 (SPEC 12.2).
 *
 * The receiver takes one byte at a time and never waits: whatever comes, it is in step again at the next start marker.
 */
#ifndef WZ_LINE_H
#define WZ_LINE_H

#include <stddef.h>
#include <stdint.h>

#ifndef WZ_SMP_BUFFER
#define WZ_SMP_BUFFER 260 /* bytes of a request with its length and check: what `buf_size` tells a host */
#endif
#define WZ_LINE_BYTES 127                                    /* of an answer, marker and newline included */
#define WZ_ANSWER_BYTES ((WZ_LINE_BYTES - 3) / 4 * 3 - 4)    /* of its message, header included */

typedef struct {
    uint8_t state;    /* which part of a line is expected */
    uint8_t group;    /* characters of the group of four so far */
    uint8_t padding;  /* '=' seen in it; after it only the end of the line may follow */
    uint8_t begun;    /* a first line has come: continuation lines are welcome */
    uint32_t bits;    /* of the group so far */
    uint16_t fill;    /* bytes in the buffer */
    uint32_t bad;     /* messages given up, since the start */
    uint8_t buffer[WZ_SMP_BUFFER];
} wz_line_t;

/* Take one byte. Returns the bytes of the message that it completes, which is in `buffer + 2` until the next call; else 0. */
size_t wz_line_feed(wz_line_t *line, uint8_t byte);

/* An answer of at most WZ_ANSWER_BYTES, `message[2..]` with two free bytes before and after it, as a line; returns its bytes. */
size_t wz_line_write(uint8_t line[WZ_LINE_BYTES], uint8_t *message, size_t count);

#endif
