/* The runtime behind one function over flat memory, so that a shared library, Thumb code and RISC-V code are driven alike.
 *
 * `commands` is an array of 32-bit words: a command, its arguments, the next command, until HARNESS_END. What comes out goes to `out`, also in
 * words: a frame is its size and its bytes, filled up to a word; an answer is HARNESS_ANSWER + command, then the value. Nothing is lost
 * between two calls: `harness` keeps the node. Places in memory are given as bytes from the start of `harness`.
 */
#ifndef WZ_HARNESS_H
#define WZ_HARNESS_H

#include "wz.h"

enum {
    HARNESS_END,
    HARNESS_OPEN,     /* which, blob, bytes, id: model number 0 or 1 -> status */
    HARNESS_START,    /* which, buffer, bytes, period low, high, start low, high, node id, boot epoch, link -> status */
    HARNESS_RESUME,   /* packet counter, index high, index low */
    HARNESS_SAMPLES,  /* count, two samples to a word: one by one */
    HARNESS_BLOCK,    /* the same as one block */
    HARNESS_ABSENT,   /* count */
    HARNESS_FLUSH,
    HARNESS_ANNOUNCE,
    HARNESS_RATE,     /* rate point -> status */
    HARNESS_SWITCH,   /* which, buffer, bytes -> status */
    HARNESS_TAKING,   /* 1: take frames as soon as there are some (so it begins); 0: never */
    HARNESS_COUNTERS, /* -> saturated, overruns, rejected: three answers */
    HARNESS_BUFFER,   /* which -> bytes of buffer */
    HARNESS_SAT16,    /* v -> result */
    HARNESS_SHIFT,    /* v, s -> shift_round */
    HARNESS_LENGTH,   /* v -> bit_length */
    HARNESS_CHECK,    /* bits, count, turns -> level check */
    HARNESS_CODER,    /* count, then start, size, total bits of each (size 0: `start` as total bits of plain bits) -> a frame, the payload */
    HARNESS_USE,      /* buffer -> 1: used from now on */
    HARNESS_ANSWER = 0x40000000
};

typedef struct {
    wz_encoder_t encoder;
    wz_model_t model[2];
    wz_node_t node;
    uint32_t idle; /* not taking */
    uint16_t rejected;
} wz_harness_t;

/* Returns the words written to `out`, which has to be long enough for all of it. */
uint32_t wz_harness_run(wz_harness_t *harness, const uint32_t *commands, uint32_t *out);

#endif
