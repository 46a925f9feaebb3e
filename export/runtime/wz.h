/* edge_wz node runtime: sensor samples in, frames out. This header is its manual.
 *
 * A node is cheap and dumb: some integer operations per sample, no heap, no float, no division, no library, no variable that
 * is not in a struct of yours. What comes out is the bit stream of docs/SPEC.md, byte for byte that of the gateway's own encoder.
 *
 * In short:
 *
 *     static wz_encoder_t encoder;
 *     static uint32_t buffer[BUFFER_BYTES / 4];             // at least wz_buffer_bytes(&model), 4-byte aligned
 *
 *     wz_model_open(&model, blob, sizeof blob, model_id);   // once, at boot: checks the blob, which stays where it is
 *     wz_start(&encoder, &model, &node, buffer, sizeof buffer);
 *     for (;;) {
 *         uint32_t size;
 *         const uint8_t *bytes;
 *         while ((size = wz_take(&encoder, &bytes)) != 0)   // the first one is a hello
 *             send(bytes, size);
 *         wz_encode_sample(&encoder, read_adc());
 *     }
 *
 * Rules
 * - One encoder belongs to one thread of execution. Nothing here is reentrant on the same encoder; two encoders do not meet.
 * - Blob, model id, wz_model_t, wz_node_t and the buffer stay valid and unchanged while an encoder uses them. Blob and id may lie in
 *   flash; the blob is little-endian, 4-byte aligned, and used in place.
 * - Time is the count of samples: exactly one call of wz_encode_sample, or wz_encode_absent where the sensor gave none, for each
 *   period. A sample that is simply left out shifts every later one in time.
 * - No function blocks; the longest is the one that completes a packet (docs in README.md of the exported folder give counts).
 *
 * Sources to compile: all *.c of this folder. wz_config.h says what can be left out.
 */
#ifndef WZ_H
#define WZ_H

#include <stdint.h>

#include "wz_config.h"
#include "wz_layout.h"

/* What a call answers. WZ_OK is 0, everything else negative. Down to WZ_COUNT the numbers are those of edge_wz/kernels/status.py. */
typedef enum {
    WZ_OK = WZ_STATUS_OK,
    WZ_NO_SPACE = WZ_STATUS_NO_SPACE, /* the buffer is smaller than wz_buffer_bytes() says, or not 4-byte aligned */
    WZ_COUNT = WZ_STATUS_COUNT,       /* a number that the model does not have, as of a rate point */
    WZ_BUSY = -7,                     /* a packet is begun or waits: wz_flush and wz_take first */
    /* why wz_model_open refused a blob */
    WZ_BLOB_ALIGNMENT = -16, /* its address is no multiple of 4 */
    WZ_BLOB_LENGTH = -17,    /* cut off, or not as long as its header says */
    WZ_BLOB_FOREIGN = -18,   /* not a node blob */
    WZ_BLOB_NEWER = -19,     /* of a later format: update the firmware */
    WZ_BLOB_CHECK = -20,     /* bytes were changed */
    WZ_BLOB_SCHEME = -21,    /* this build was made without that scheme, or with fewer taps (wz_config.h) */
    WZ_BLOB_FIELD = -22,     /* a field outside its range */
    WZ_BLOB_OVERFLOW = -23,  /* filter or predictor could exceed 32 bits */
    WZ_BLOB_TABLE = -24      /* a table that does not rise from 0 to its total */
} wz_status_t;

typedef struct wz_scheme wz_scheme_t; /* scheme.h */

/* A blob that was checked. Fill it by wz_model_open only. */
typedef struct {
    const void *blob;
    const uint8_t *id; /* WZ_MODEL_ID_BYTES: the first 8 bytes of the blob's SHA-256, as `edge-wz inspect` prints them */
    const wz_scheme_t *scheme;
    uint16_t front_bytes;  /* of the buffer, before the payload */
    uint16_t work_at;      /* where in the buffer the scheme's work space begins */
    uint32_t buffer_bytes; /* all of it */
} wz_model_t;

/* Who the node is. `start_ms` may change while the encoder runs (a clock was set): the next hello tells it; call wz_announce. */
typedef struct {
    uint64_t period_us; /* between samples, 1 .. 2^40 - 1 */
    uint64_t start_ms;  /* Unix time of sample 0, below 2^48; 0: the node has no clock */
    uint16_t node_id;   /* 0 .. 32767 */
    uint16_t boot_epoch; /* one more at each restart; without storage that keeps it, a random number */
    uint8_t link;        /* WZ_LINK_... below */
} wz_node_t;

#define WZ_LINK_ADDRESSED 0 /* one node on this byte path: packets need no id */
#define WZ_LINK_SHARED 1    /* several nodes: each packet begins with the node id */
#define WZ_LINK_PACKETS 2   /* to be or-ed: a radio that keeps packets whole; wz_take gives them without COBS and delimiter */

/* One node between two restarts: 48 bytes on a 32-bit machine, and 16 (64 in all) or, if that is more, 2 * WZ_TAPS, rounded up to 4, 4 more for the
 * level check and 4 for coded bins. Reading `saturated`, `overruns` and `packet_counter` is
 * welcome; write through the functions below. Order: bytes, halfwords, words, as short offsets reach only the front of a struct. */
typedef struct {
    uint8_t rate_point;     /* of the next packet to begin */
    uint8_t flags;          /* WZ_FLAG_..., encoder.h */
    uint16_t slot;          /* sample slots filled in this packet */
    uint16_t position;      /* payload bytes written */
    uint16_t point;         /* where in the blob the rate point of this packet begins */
    uint16_t since_hello;   /* data packets */
    uint16_t seed;          /* CRC state after the context */
    uint16_t overruns;      /* data packets lost because they were not taken in time; stops at 65535 */
    uint16_t index_high;    /* sample index of the first sample of this packet, bits 32 to 47 */
    union { /* of one packet */
        struct {
            uint32_t syndrome; /* trellis: register of the convolution */
            uint8_t window;    /* bits not yet written: its lowest `held` ones */
            uint8_t held;      /* 0 .. 7 between calls */
            uint8_t width;     /* of a bin index; log2 q */
        } bits;
        struct {
            uint32_t low;
            uint32_t range;
        } coder;
        struct {
            uint32_t table; /* layered: where in the blob the intervals are */
            uint32_t count; /* of present samples */
        } messages;
        struct {
            uint16_t lead;  /* how far before `payload` the frame begins */
            uint16_t bytes; /* of the frame that waits to be taken */
        } frame;
    } packet;
    uint32_t index_low;     /* bits 0 to 31 */
    uint32_t packet_counter; /* of the packet being filled */
    uint32_t saturated;      /* samples that sat16 changed; stops at 2^31 - 1 */
    uint8_t *payload;        /* inside the buffer: headers grow downwards from here */
    const wz_model_t *model;
    const wz_node_t *node;
    union { /* of the source */
        struct {
#if WZ_WITH_CODED_BINS
            uint32_t reciprocal; /* 2^28 div modulus */
#endif
            uint32_t history[WZ_TAPS > 1 ? WZ_TAPS / 2 : 1]; /* x[n-1], x[n-2], ..., two in each, the newer one below: crosses packets */
            uint8_t check;                     /* level check of this packet so far */
        } filter;
        struct {
            uint32_t recon[WZ_MAX_ORDER / 2]; /* reconstructions of the last slots of this packet, two in each, the newer one below */
            uint16_t level[2];           /* |level| of the last two slots */
        } predictor;
    } source;
} wz_encoder_t;

/* Check a blob (SPEC 5.3) of `bytes` bytes: a few dozen instructions per byte, so once, at boot or before a switch. On anything but WZ_OK
 * `model` is as it was, and *rejected, if not NULL, is one higher: keep one such counter where the host can read it. The id is believed. */
wz_status_t wz_model_open(wz_model_t *model, const void *blob, uint32_t bytes, const uint8_t *id, uint16_t *rejected);

/* Bytes of buffer that this model needs: the longest packet that it can make, and its frame. */
uint32_t wz_buffer_bytes(const wz_model_t *model);

/* At boot, and never later in the same boot epoch. A hello is ready to be taken. WZ_NO_SPACE: nothing may be called. */
wz_status_t wz_start(wz_encoder_t *encoder, const wz_model_t *model, const wz_node_t *node, void *buffer, uint32_t buffer_bytes);

/* Directly after wz_start, on a node that sleeps without losing count: the number of the next packet and of its first sample, whose
 * bits 32 to 47 are `index_high`. */
void wz_resume(wz_encoder_t *encoder, uint32_t packet_counter, uint16_t index_high, uint32_t index_low);

/* One sample. True (1) when it completed a packet: then wz_take has something. At any time after wz_start. */
int wz_encode_sample(wz_encoder_t *encoder, int16_t sample);

/* A period in which the sensor gave no sample. Answers as wz_encode_sample. */
int wz_encode_absent(wz_encoder_t *encoder);

/* Up to `count` samples; cheaper than one by one. Returns how many were taken in: it stops behind the one that completes a packet, so
 * call wz_take before going on with the rest. */
uint32_t wz_encode_block(wz_encoder_t *encoder, const int16_t *samples, uint32_t count);

/* The next frame, delimiter included, or 0 bytes when there is none. Call until 0, before the next sample. *bytes lies in the buffer and is
 * valid until the next call that gets this encoder. A data frame that is not taken before the next sample is lost and counted in
 * `overruns` (the gateway conceals its samples); a hello that is not taken stays due and comes behind the next packet. */
uint32_t wz_take(wz_encoder_t *encoder, const uint8_t **bytes);

/* End of a run, before a long sleep or a model switch: what is in the packet goes out as a short one, and a hello behind it. True (1) if
 * there was a packet to end: wz_take gives it first, then the hello. */
int wz_flush(wz_encoder_t *encoder);

/* A hello behind the current packet, or at once if none is begun: after a clock was set, after the host used the line for something else. */
void wz_announce(wz_encoder_t *encoder);

/* From the next packet on. WZ_COUNT if the model has no such point. */
wz_status_t wz_set_rate_point(wz_encoder_t *encoder, uint32_t rate_point);

/* Go on with another model, in this or another buffer, between packets: wz_flush, wz_take until 0, then this. A hello of the new model is
 * then due; the filter's history starts from zero; a rate point that the model does not have becomes 0. On WZ_BUSY or WZ_NO_SPACE
 * nothing has changed. */
wz_status_t wz_switch_model(wz_encoder_t *encoder, const wz_model_t *model, void *buffer, uint32_t buffer_bytes);

/* Between packets, as after wz_take answered 0: fill this buffer next, while the last frame is still on its way out of the other one. Of the
 * size given to wz_start. False (0) in the middle of a packet or before the last one is taken. */
int wz_use_buffer(wz_encoder_t *encoder, void *buffer);

#endif
