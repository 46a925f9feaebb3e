/* Samples in, packets out (edge_wz/codec/encoder.py): what happens to each sample, and at the end of each packet. */
#include "encoder.h"

#include "packet.h"
#include "scheme.h"
#include "sections.h"

static void begin_packet(wz_encoder_t *encoder)
{
    const wz_model_t *model = encoder->model;
    uint32_t rate_point = encoder->rate_point;
    if (encoder->flags & WZ_FLAG_READY)
        encoder->overruns = (uint16_t)(encoder->overruns + (encoder->overruns != 65535));
    encoder->flags = (uint8_t)((encoder->flags & WZ_FLAG_HELLO) | (rate_point << WZ_RATE_SHIFT));
    encoder->position = 0;
    encoder->point = (uint16_t)model->scheme->point(model->blob, rate_point);
    model->scheme->begin(encoder);
}

/* The slots that are filled become a packet, which waits to be taken. */
static void end_packet(wz_encoder_t *encoder)
{
    const wz_blob_header_t *header = wz_header(encoder->model);
    uint32_t slots = encoder->slot, is_short = slots != header->packet_samples;
    encoder->model->scheme->finish(encoder);
    wz_pack_data(encoder);
    encoder->flags |= WZ_FLAG_READY;
    encoder->slot = 0;
    encoder->index_low += slots;
    if (encoder->index_low < slots)
        encoder->index_high++;
    encoder->packet_counter++;
    encoder->since_hello++;
    if (encoder->since_hello >= header->hello_every || encoder->packet_counter == 0 || is_short)
        wz_announce(encoder);
    if ((encoder->packet_counter & 255) == 0 || is_short)
        encoder->seed = wz_context_seed(encoder);
}

static int count_slots(wz_encoder_t *encoder, uint32_t count)
{
    encoder->slot = (uint16_t)(encoder->slot + count);
    if (encoder->slot != wz_header(encoder->model)->packet_samples)
        return 0;
    end_packet(encoder);
    return 1;
}

int wz_encode_sample(wz_encoder_t *encoder, int16_t sample)
{
    if (encoder->slot == 0)
        begin_packet(encoder);
    encoder->model->scheme->samples(encoder, &sample, 1);
    return count_slots(encoder, 1);
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
    encoder->model->scheme->samples(encoder, samples, count);
    count_slots(encoder, count);
    return count;
}

int wz_encode_absent(wz_encoder_t *encoder)
{
    if (encoder->slot == 0)
        begin_packet(encoder);
    wz_mark_absent(encoder);
    encoder->model->scheme->absent(encoder);
    return count_slots(encoder, 1);
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
