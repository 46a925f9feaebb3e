/* A node: samples in, frames out (edge_wz/codec/encoder.py). What wz.h promises is kept here; the schemes only fill payloads. */
#include "encoder.h"

#include "blob.h"
#include "nested_quantizer.h"
#include "packet.h"
#include "predictor.h"

#define HELLO_SPACE (WZ_HELLO_BYTES + 1) /* behind the start of the payload, with the delimiter */

static uint32_t scheme_of(const wz_encoder_t *encoder)
{
    return wz_header(encoder->model)->scheme;
}

static void begin_payload(wz_encoder_t *encoder)
{
#if WZ_WITH_PREDICTIVE
    if (scheme_of(encoder) == WZ_SCHEME_PREDICTIVE) {
        wz_predictive_begin(encoder);
        return;
    }
#endif
#if WZ_WITH_FILTERED
    wz_nested_begin(encoder);
#endif
}

static void fill_payload(wz_encoder_t *encoder, const int16_t *samples, uint32_t count)
{
#if WZ_WITH_PREDICTIVE
    if (scheme_of(encoder) == WZ_SCHEME_PREDICTIVE) {
        wz_predictive_samples(encoder, samples, count);
        return;
    }
#endif
#if WZ_WITH_FILTERED
    wz_nested_samples(encoder, samples, count);
#endif
}

static void skip_payload(wz_encoder_t *encoder)
{
#if WZ_WITH_PREDICTIVE
    if (scheme_of(encoder) == WZ_SCHEME_PREDICTIVE) {
        wz_predictive_absent(encoder);
        return;
    }
#endif
#if WZ_WITH_FILTERED
    wz_nested_absent(encoder);
#endif
}

static void finish_payload(wz_encoder_t *encoder)
{
#if WZ_WITH_PREDICTIVE
    if (scheme_of(encoder) == WZ_SCHEME_PREDICTIVE) {
        wz_predictive_finish(encoder);
        return;
    }
#endif
#if WZ_WITH_FILTERED
    wz_nested_finish(encoder);
#endif
}

static void begin_packet(wz_encoder_t *encoder)
{
    if (encoder->flags & WZ_FLAG_READY)
        encoder->overruns = (uint16_t)(encoder->overruns + (encoder->overruns != 65535));
    encoder->flags &= WZ_FLAG_HELLO;
    encoder->position = 0;
    encoder->point = (uint16_t)wz_point_offset(encoder->model, encoder->rate_point);
    begin_payload(encoder);
}

/* The slots that are filled become a packet, which waits to be taken. */
static void end_packet(wz_encoder_t *encoder)
{
    const wz_blob_header_t *header = wz_header(encoder->model);
    uint32_t slots = encoder->slot;
    finish_payload(encoder);
    wz_pack_data(encoder);
    encoder->flags |= WZ_FLAG_READY;
    encoder->slot = 0;
    encoder->index_low += slots;
    encoder->index_high = (uint16_t)(encoder->index_high + (encoder->index_low < slots));
    encoder->packet_counter++;
    encoder->since_hello++;
    if (encoder->since_hello >= header->hello_every || encoder->packet_counter == 0 || slots != header->packet_samples)
        wz_announce(encoder);
    if (slots != header->packet_samples || (encoder->packet_counter & 255) == 0)
        encoder->seed = wz_context_seed(encoder);
}

static void count_slots(wz_encoder_t *encoder, uint32_t count)
{
    encoder->slot = (uint16_t)(encoder->slot + count);
    if (encoder->slot == wz_header(encoder->model)->packet_samples)
        end_packet(encoder);
}

/* A model, and the buffer for it; between packets. */
static wz_status_t use_model(wz_encoder_t *encoder, const wz_model_t *model, void *buffer, uint32_t buffer_bytes)
{
    if (((uintptr_t)buffer & 3) != 0 || buffer_bytes < wz_buffer_bytes(model))
        return WZ_NO_SPACE;
    encoder->model = model;
    encoder->payload = (uint8_t *)buffer + wz_front_bytes(model);
    if (encoder->rate_point >= wz_header(model)->rate_points)
        encoder->rate_point = 0;
    for (uint32_t i = 0; i < sizeof encoder->source; i++)
        ((uint8_t *)&encoder->source)[i] = 0;
    encoder->flags = WZ_FLAG_HELLO;
    encoder->seed = wz_context_seed(encoder);
    return WZ_OK;
}

uint32_t wz_buffer_bytes(const wz_model_t *model)
{
    uint32_t behind = wz_max_payload_bytes(model) + 3; /* check and delimiter */
    return wz_front_bytes(model) + (behind < HELLO_SPACE ? HELLO_SPACE : behind);
}

wz_status_t wz_start(wz_encoder_t *encoder, const wz_model_t *model, const wz_node_t *node, void *buffer, uint32_t buffer_bytes)
{
    for (uint32_t i = 0; i < sizeof *encoder; i++)
        ((uint8_t *)encoder)[i] = 0;
    encoder->node = node;
    return use_model(encoder, model, buffer, buffer_bytes);
}

void wz_resume(wz_encoder_t *encoder, uint32_t packet_counter, uint16_t index_high, uint32_t index_low)
{
    encoder->packet_counter = packet_counter;
    encoder->index_high = index_high;
    encoder->index_low = index_low;
    encoder->seed = wz_context_seed(encoder);
}

uint32_t wz_encode_block(wz_encoder_t *encoder, const int16_t *samples, uint32_t count)
{
    uint32_t room = (uint32_t)wz_header(encoder->model)->packet_samples - encoder->slot;
    if (count > room)
        count = room;
    if (count == 0)
        return 0;
    if (encoder->slot == 0)
        begin_packet(encoder);
    fill_payload(encoder, samples, count);
    count_slots(encoder, count);
    return count;
}

int wz_encode_sample(wz_encoder_t *encoder, int16_t sample)
{
    wz_encode_block(encoder, &sample, 1);
    return encoder->flags & WZ_FLAG_READY;
}

int wz_encode_absent(wz_encoder_t *encoder)
{
    if (encoder->slot == 0)
        begin_packet(encoder);
    wz_mark_absent(encoder);
    skip_payload(encoder);
    count_slots(encoder, 1);
    return encoder->flags & WZ_FLAG_READY;
}

uint32_t wz_take(wz_encoder_t *encoder, const uint8_t **bytes)
{
    if (encoder->slot != 0)
        return 0;
    if (encoder->flags & WZ_FLAG_READY) {
        encoder->flags &= (uint8_t)~WZ_FLAG_READY;
    } else if (encoder->flags & WZ_FLAG_HELLO) {
        encoder->flags = 0;
        encoder->since_hello = 0;
        wz_pack_hello(encoder);
    } else {
        return 0;
    }
    *bytes = encoder->payload - encoder->packet.frame.lead;
    return encoder->packet.frame.bytes;
}

int wz_flush(wz_encoder_t *encoder)
{
    if (encoder->slot != 0)
        end_packet(encoder);
    if (encoder->since_hello != 0)
        wz_announce(encoder);
    return (encoder->flags & WZ_FLAG_READY) != 0;
}

void wz_announce(wz_encoder_t *encoder)
{
    encoder->since_hello = 0; /* so that hello_every counts from here even if the hello is taken late */
    encoder->flags |= WZ_FLAG_HELLO;
}

wz_status_t wz_set_rate_point(wz_encoder_t *encoder, uint32_t rate_point)
{
    if (rate_point >= wz_header(encoder->model)->rate_points)
        return WZ_COUNT;
    encoder->rate_point = (uint8_t)rate_point;
    return WZ_OK;
}

wz_status_t wz_switch_model(wz_encoder_t *encoder, const wz_model_t *model, void *buffer, uint32_t buffer_bytes)
{
    return encoder->slot != 0 || (encoder->flags & WZ_FLAG_READY) ? WZ_BUSY : use_model(encoder, model, buffer, buffer_bytes);
}

int wz_use_buffer(wz_encoder_t *encoder, void *buffer)
{
    if (encoder->slot != 0 || (encoder->flags & WZ_FLAG_READY))
        return 0;
    encoder->payload = (uint8_t *)buffer + wz_front_bytes(encoder->model);
    return 1;
}
