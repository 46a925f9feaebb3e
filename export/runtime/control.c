/* What is done to an encoder between packets: start, resume, flush, another model, another rate point, another buffer. */
#include "encoder.h"
#include "packet.h"
#include "sections.h"

static void clear(void *memory, uint32_t bytes)
{
    for (uint8_t *byte = (uint8_t *)memory; bytes != 0; bytes--)
        *byte++ = 0;
}

static wz_status_t use_model(wz_encoder_t *encoder, const wz_model_t *model, void *buffer, uint32_t buffer_bytes)
{
    if (((uintptr_t)buffer & 3) != 0 || buffer_bytes < model->buffer_bytes)
        return WZ_NO_SPACE;
    encoder->model = model;
    encoder->payload = (uint8_t *)buffer + model->front_bytes;
    if (encoder->rate_point >= wz_header(model)->rate_points)
        encoder->rate_point = 0;
    clear(&encoder->source, sizeof encoder->source);
    encoder->flags = WZ_FLAG_HELLO;
    encoder->seed = wz_context_seed(encoder);
    return WZ_OK;
}

wz_status_t wz_start(wz_encoder_t *encoder, const wz_model_t *model, const wz_node_t *node, void *buffer, uint32_t buffer_bytes)
{
    clear(encoder, sizeof *encoder);
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

wz_status_t wz_set_rate_point(wz_encoder_t *encoder, uint32_t rate_point)
{
    if (rate_point >= wz_header(encoder->model)->rate_points)
        return WZ_COUNT;
    encoder->rate_point = (uint8_t)rate_point;
    return WZ_OK;
}

static int is_between_packets(const wz_encoder_t *encoder)
{
    return encoder->slot == 0 && !(encoder->flags & WZ_FLAG_READY);
}

wz_status_t wz_switch_model(wz_encoder_t *encoder, const wz_model_t *model, void *buffer, uint32_t buffer_bytes)
{
    return is_between_packets(encoder) ? use_model(encoder, model, buffer, buffer_bytes) : WZ_BUSY;
}

int wz_use_buffer(wz_encoder_t *encoder, void *buffer)
{
    if (!is_between_packets(encoder))
        return 0;
    encoder->payload = (uint8_t *)buffer + encoder->model->front_bytes;
    return 1;
}

int wz_flush(wz_encoder_t *encoder)
{
    if (encoder->slot != 0)
        wz_end_packet(encoder);
    if (encoder->since_hello != 0)
        wz_announce(encoder);
    return (encoder->flags & WZ_FLAG_READY) != 0;
}

void wz_announce(wz_encoder_t *encoder)
{
    encoder->since_hello = 0; /* so that hello_every counts from here even if the hello is taken late */
    encoder->flags |= WZ_FLAG_HELLO;
}
