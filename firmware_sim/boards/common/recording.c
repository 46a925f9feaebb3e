/* See recording.h. */
#include "recording.h"

static uint8_t records[32 * RECORD_BYTES];
static size_t begun; /* bytes of `records` already played */
static size_t filled;

static void play(wz_device_t *device, const uint8_t *record)
{
    if (record[2] & RECORD_FLUSH) {
        wz_device_flush(device);
    } else if (record[2] & RECORD_ABSENT) {
        wz_device_absent(device);
    } else {
        wz_device_sample(device, (int16_t)(record[0] | record[1] << 8));
    }
}

/* Move what is left to the front, then read on: a record may come in pieces. */
static void refill(void)
{
    size_t index;

    for (index = begun; index < filled; index++) {
        records[index - begun] = records[index];
    }
    filled -= begun;
    begun = 0;
    filled += recording_read(records + filled, sizeof records - filled);
}

int recording_play(wz_device_t *device)
{
    size_t before;

    if (filled - begun < RECORD_BYTES) {
        refill();
    }
    before = begun;
    while (filled - begun >= RECORD_BYTES && ((records[begun + 2] & RECORD_NO_WAIT) || wz_device_room(device))) {
        play(device, records + begun);
        begun += RECORD_BYTES;
    }
    return begun != before;
}
