/* Samples in, packets out (edge_wz/codec/encoder.py): what happens to each sample, and at the end of each packet. */
#include "encoder.h"

#include "packet.h"
#include "scheme.h"
#include "sections.h"

static void begin_packet(wz_encoder_t *encoder)
{
    const wz_model_t *model = encoder->model;
    uint32_t rate_point = encoder->rate_point;
    if (encoder->flags & WZ_FLAG_READY) {
        uint32_t overruns = encoder->overruns + 1u;
        encoder->overruns = (uint16_t)(overruns - (overruns >> 16));
    }
    encoder->flags = (uint8_t)((encoder->flags & WZ_FLAG_HELLO) | (rate_point << WZ_RATE_SHIFT));
    encoder->position = 0;
    encoder->point = (uint16_t)model->scheme->point(model->blob, rate_point);
    model->scheme->begin(encoder);
}

void wz_end_packet(wz_encoder_t *encoder)
{
    const wz_blob_header_t *header = wz_header(encoder->model);
    uint32_t slots = encoder->slot, hello;
    encoder->model->scheme->finish(encoder);
    wz_pack_data(encoder);
    encoder->flags |= WZ_FLAG_READY;
    encoder->slot = 0;
    encoder->index_low += slots;
    encoder->index_high = (uint16_t)(encoder->index_high + (encoder->index_low < slots));
    encoder->packet_counter++;
    encoder->since_hello++;
    hello = encoder->since_hello >= header->hello_every || slots != header->packet_samples;
    if (hello || (encoder->packet_counter & 255) == 0) {
        encoder->seed = wz_context_seed(encoder); /* the same before a hello that is only due again */
        if (hello || encoder->packet_counter == 0)
            wz_announce(encoder);
    }
}

/* Slots that this packet has room for: `count` samples, or, if there are none, one absent sample. True when they complete it. */
static int encode(wz_encoder_t *encoder, const int16_t *samples, uint32_t count)
{
    const wz_scheme_t *scheme = encoder->model->scheme;
    if (encoder->slot == 0)
        begin_packet(encoder);
    if (samples) {
        scheme->samples(encoder, samples, count);
    } else {
        wz_mark_absent(encoder);
        scheme->absent(encoder);
    }
    encoder->slot = (uint16_t)(encoder->slot + count);
    if (encoder->slot != wz_header(encoder->model)->packet_samples)
        return 0;
    wz_end_packet(encoder);
    return 1;
}

uint32_t wz_encode_block(wz_encoder_t *encoder, const int16_t *samples, uint32_t count)
{
    uint32_t room = (uint32_t)wz_header(encoder->model)->packet_samples - encoder->slot;
    if (count > room)
        count = room;
    if (count != 0)
        encode(encoder, samples, count);
    return count;
}

int wz_encode_sample(wz_encoder_t *encoder, int16_t sample)
{
    return encode(encoder, &sample, 1);
}

int wz_encode_absent(wz_encoder_t *encoder)
{
    return encode(encoder, (const int16_t *)0, 1);
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
