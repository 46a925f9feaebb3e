/* The boards' ADC: a recording that the host writes while it is played, four bytes a record, little-endian (firmware_sim/firmware.py).
 *
 * A source that can wait: a record is taken only when its packet would not be lost, unless it says otherwise. So every sample of a
 * recording is in a packet or, told not to wait, in one that the device counted as lost.
 */
#ifndef RECORDING_H
#define RECORDING_H

#include "device/wz_device.h"

#define RECORD_BYTES 4
#define RECORD_ABSENT 1  /* the sensor gave no sample */
#define RECORD_NO_WAIT 2 /* as a real ADC: take it, whatever becomes of its packet */
#define RECORD_FLUSH 4   /* no sample: end the packet begun */

/* The board's: up to `capacity` bytes of the recording that have come since; returns how many. Must not block. */
size_t recording_read(uint8_t *bytes, size_t capacity);

/* Give the device what there is, up to the next record that has to wait. True if anything was taken. */
int recording_play(wz_device_t *device);

#endif
