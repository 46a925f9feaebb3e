/* The one check of a blob (SPEC 5): what passes can be used without looking again, and has the one byte form that its fields allow. Each
 * scheme checks its own section. What follows from the blob, and is wanted at each packet, is kept in wz_model_t. */
#include "framing.h"
#include "packet.h"
#include "scheme.h"
#include "sections.h"

#define CHECK_BYTES 4
#define HELLO_SPACE (WZ_HELLO_BYTES + 1) /* behind the start of the payload, with the delimiter */

/* Finite; `positive`: and above 0. */
static int is_number(const uint32_t *f64, int positive)
{
    if ((f64[1] & 0x7FF00000u) == 0x7FF00000u)
        return 0;
    return !positive || (f64[1] >> 31 == 0 && (f64[0] | f64[1]) != 0);
}

static int fields_hold(const wz_blob_header_t *header)
{
    uint32_t check = header->level_check_bits;
    return header->rate_points >= 1 && header->rate_points <= WZ_MAX_RATE_POINTS && header->hello_every != 0 &&
           header->packet_samples >= 1 && header->packet_samples <= WZ_MAX_PACKET_SAMPLES && (check == 0 || check == 4 || check == 8) &&
           is_number(header->scale, 1) && is_number(header->offset, 0);
}

static wz_status_t check_header(const wz_blob_header_t *header, uint32_t bytes)
{
    if (((uintptr_t)header & 3) != 0)
        return WZ_BLOB_ALIGNMENT;
    if (bytes < sizeof *header + CHECK_BYTES)
        return WZ_BLOB_LENGTH;
    if (header->magic != WZ_BLOB_MAGIC)
        return WZ_BLOB_FOREIGN;
    if (header->version != WZ_BLOB_VERSION)
        return header->version > WZ_BLOB_VERSION ? WZ_BLOB_NEWER : WZ_BLOB_FIELD;
    if (header->total_bytes != bytes || (bytes & 3) != 0)
        return WZ_BLOB_LENGTH;
    if (~wz_crc32(~(uint32_t)0, (const uint8_t *)header, bytes - CHECK_BYTES) != ((const uint32_t *)header)[(bytes >> 2) - 1])
        return WZ_BLOB_CHECK;
    if (!fields_hold(header))
        return WZ_BLOB_FIELD;
    return header->level_check_bits != 0 && !WZ_WITH_LEVEL_CHECK ? WZ_BLOB_SCHEME : WZ_OK;
}

/* Where things lie in the buffer: the lead of the frame, header and extension, the payload, check and delimiter, the work space. */
static void lay_out(wz_model_t *model)
{
    const wz_blob_header_t *header = wz_header(model);
    uint32_t payload = 0, work = 0, front = WZ_HEADER_MAX + wz_bitmap_bytes(header->packet_samples);
    for (uint32_t number = 0; number < header->rate_points; number++) {
        wz_need_t need = model->scheme->need(model->blob, number);
        if (need.payload_bits > payload)
            payload = need.payload_bits;
        if (need.work_bytes > work)
            work = need.work_bytes;
    }
    payload = (payload + 7) >> 3;
    front += wz_frame_lead(front + payload + WZ_CHECK_BYTES);
    payload += WZ_CHECK_BYTES + 1;
    if (payload < HELLO_SPACE)
        payload = HELLO_SPACE;
    model->front_bytes = (uint16_t)front;
    model->work_at = (uint16_t)((front + payload + 3) & ~3u);
    model->buffer_bytes = model->work_at + ((work + 3) & ~(uint32_t)3);
}

static wz_status_t check_blob(wz_model_t *model, uint32_t bytes)
{
    wz_status_t status = check_header(wz_header(model), bytes);
    if (status != WZ_OK)
        return status;
    model->scheme = wz_find_scheme(wz_header(model)->scheme);
    return model->scheme ? model->scheme->check(model->blob, bytes - CHECK_BYTES) : WZ_BLOB_SCHEME;
}

wz_status_t wz_model_open(wz_model_t *model, const void *blob, uint32_t bytes, const uint8_t *id, uint16_t *rejected)
{
    wz_model_t candidate = {blob, id, 0, 0, 0, 0};
    wz_status_t status = check_blob(&candidate, bytes);
    if (status == WZ_OK) {
        lay_out(&candidate);
        *model = candidate;
    } else if (rejected) {
        *rejected = (uint16_t)(*rejected + (*rejected != 65535));
    }
    return status;
}

uint32_t wz_buffer_bytes(const wz_model_t *model)
{
    return model->buffer_bytes;
}
