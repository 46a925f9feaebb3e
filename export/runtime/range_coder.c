/* See range_coder.h. After "Range encoding", G. N. N. Martin, 1979. */
#include "range_coder.h"

#if WZ_WITH_RANGE_CODER

/* Add one to the bytes written. A carry never runs out of the front: low + range stays within what was first given. */
static void carry(uint8_t *end)
{
    do
        end--;
    while (++*end == 0);
}

void wz_start_coder(wz_encoder_t *encoder)
{
    encoder->packet.coder.low = 0;
    encoder->packet.coder.range = ~(uint32_t)0;
}

void wz_encode_symbol(wz_encoder_t *encoder, uint32_t start, uint32_t size, uint32_t total_bits)
{
    uint32_t range = encoder->packet.coder.range;
    uint32_t low = encoder->packet.coder.low;
    uint32_t r = range >> total_bits;
    uint32_t below = r * start;
    range = (start + size) >> total_bits ? range - below : r * size;
    low += below;
    uint8_t *out = encoder->payload + encoder->position;
    if (low < below)
        carry(out);
    if (range < WZ_RENORM_LIMIT) {
        do {
            *out++ = (uint8_t)(low >> 24);
            low <<= 8;
            range <<= 8;
        } while (range < WZ_RENORM_LIMIT);
        encoder->position = (uint16_t)(out - encoder->payload);
    }
    encoder->packet.coder.low = low;
    encoder->packet.coder.range = range;
}

void wz_encode_bits(wz_encoder_t *encoder, uint32_t value, uint32_t n)
{
    if (n > 8) {
        n -= 8;
        wz_encode_symbol(encoder, value >> 8, 1, n);
        value &= 255;
        n = 8;
    }
    if (n > 0)
        wz_encode_symbol(encoder, value, 1, n);
}

void wz_finish_coder(wz_encoder_t *encoder)
{
    uint32_t low = encoder->packet.coder.low;
    uint32_t last = encoder->packet.coder.range - 1; /* the interval is low .. low + last */
    uint32_t mask = ~(uint32_t)0;
    uint32_t gap; /* from low up to the next multiple of mask + 1 */
    uint8_t *out = encoder->payload + encoder->position;
    uint32_t bytes = 0;
    while ((gap = (0 - low) & mask) > last) {
        mask >>= 8;
        bytes++;
    }
    low += gap;
    if (low < gap)
        carry(out);
    for (; bytes != 0; bytes--) {
        *out++ = (uint8_t)(low >> 24);
        low <<= 8;
    }
    while (out != encoder->payload && out[-1] == 0)
        out--;
    encoder->position = (uint16_t)(out - encoder->payload);
}

#endif
