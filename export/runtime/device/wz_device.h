/* A whole node around the encoder: packets out, models in, on one wire (SPEC 12).
 *
 *     static wz_device_t device;
 *     wz_device_start(&device, &board);
 *     for (;;) {
 *         if (adc_ready())
 *             wz_device_sample(&device, adc_read());
 *         wz_device_poll(&device, elapsed_ms());      // as often as bytes come, at least every few milliseconds
 *     }
 *
 * Samples are taken in both modes and during an upload; what is slow (erasing flash, checking an image) happens in poll, so a board that
 * samples in an interrupt keeps them in a small buffer meanwhile. One device belongs to one thread of execution.
 */
#ifndef WZ_DEVICE_H
#define WZ_DEVICE_H

#include "../wz.h"
#include "wz_line.h"
#include "wz_port.h"
#include "wz_slots.h"

#define WZ_DEVICE_PROTOCOL 1
#define WZ_DEVICE_VERSION "0.1.0"
#define WZ_DEVICE_SCHEMES \
    ((uint32_t)WZ_WITH_NESTED << WZ_SCHEME_NESTED | (uint32_t)WZ_WITH_PREDICTIVE << WZ_SCHEME_PREDICTIVE | \
     (uint32_t)WZ_WITH_TRELLIS << WZ_SCHEME_TRELLIS | (uint32_t)WZ_WITH_SYNDROME << WZ_SCHEME_SYNDROME | \
     (uint32_t)WZ_WITH_LAYERED << WZ_SCHEME_LAYERED) /* bit s: scheme code s */
#ifndef WZ_DEVICE_IDLE_MS
#define WZ_DEVICE_IDLE_MS 10000 /* without a request: back to data mode */
#endif
#define WZ_DEVICE_EVENTS 8

enum { /* events of the log */
    WZ_EVENT_RESTART = 1,
    WZ_EVENT_NO_IMAGE,
    WZ_EVENT_TEST,
    WZ_EVENT_CONFIRMED,
    WZ_EVENT_TRIAL_OVER,
    WZ_EVENT_REVERTED,
    WZ_EVENT_REFUSED,
    WZ_EVENT_LOST,
    WZ_EVENT_FLASH,
    WZ_EVENT_UPLOAD
};

enum { /* counters, in the order of the answer */
    WZ_SAMPLES,
    WZ_ABSENT,
    WZ_SATURATED,
    WZ_DATA_PACKETS,
    WZ_HELLO_PACKETS,
    WZ_LOST_PACKETS,
    WZ_REQUESTS,
    WZ_BAD_LINES,
    WZ_REFUSED_IMAGES,
    WZ_FLASH_ERRORS,
    WZ_REVERTED_TRIALS,
    WZ_COUNTERS
};

typedef struct {
    uint32_t length; /* of the upload under way or completed; 0: none */
    uint32_t offset; /* of the next byte wanted */
    uint8_t sha[8];  /* first bytes of what names the upload */
    uint8_t named;
} wz_upload_t;

typedef struct {
    uint32_t bytes; /* of the ring */
    uint32_t head;  /* where the next byte to send lies */
    uint32_t count;
} wz_queue_t;

typedef struct {
    wz_slots_t slots;
    wz_encoder_t encoder;
    wz_node_t node;
    wz_model_t model[2]; /* by slot */
    uint8_t running;     /* slot, or WZ_SLOT_NONE */
    uint8_t trial;       /* `running` is not confirmed */
    uint8_t fallback;    /* what ran before the trial */
    uint8_t smp_mode;
    uint8_t in_frame;    /* the last byte sent belongs to a frame that is not ended */
    uint8_t zero_due;    /* data mode begins */
    uint8_t resume_due;  /* when the answer has left */
    uint8_t reset_due;
    uint8_t line_bytes;  /* of the answer; 0: none */
    uint8_t line_sent;
    uint8_t events;      /* entries of the log */
    uint16_t overruns;   /* of the encoder, when last looked at */
    uint32_t trial_end_s; /* uptime at which a trial ends */
    uint32_t idle_ms;    /* since the last request */
    uint32_t uptime_s;
    uint32_t uptime_ms;  /* of the second begun */
    wz_upload_t upload;
    wz_queue_t queue;
    uint32_t counter[WZ_COUNTERS];
    uint32_t event_s[WZ_DEVICE_EVENTS];
    uint8_t event[WZ_DEVICE_EVENTS];
    wz_line_t request;
    uint8_t line[WZ_LINE_BYTES];
} wz_device_t;

/* At boot: reads the journal, raises the boot epoch and starts the confirmed image, if there is one. The struct need not be cleared. */
void wz_device_start(wz_device_t *device, const wz_board_t *board);

/* One sample, or a period in which the sensor gave none. Without a model it is only counted. */
void wz_device_sample(wz_device_t *device, int16_t sample);
void wz_device_absent(wz_device_t *device);

/* The packet begun as a short one, and a hello: the end of a recording, or before a long sleep. */
void wz_device_flush(wz_device_t *device);

/* Requests, answers, frames, timers. `elapsed_ms` since the last call. */
void wz_device_poll(wz_device_t *device, uint32_t elapsed_ms);

/* True while the next packet would not be lost, nor a hello late: for sources that can wait, such as a recording. */
int wz_device_room(const wz_device_t *device);

/* ---- between the files of this folder */

void wz_device_event(wz_device_t *device, unsigned event);
void wz_device_flash_failed(wz_device_t *device);

/* Run the image of a slot, which was not refused, or none. */
void wz_device_run(wz_device_t *device, unsigned slot);
void wz_device_revert(wz_device_t *device, unsigned event);

/* Answer a request of `count` bytes: a line is ready to be sent afterwards. */
void wz_device_answer(wz_device_t *device, const uint8_t *message, size_t count);

#endif
