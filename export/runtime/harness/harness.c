/* See harness.h. */
#include "harness.h"

#include "fixed_point.h"
#include "level_check.h"
#include "range_coder.h"

static uint32_t *harness_answer(uint32_t *out, uint32_t command, uint32_t value)
{
    *out++ = HARNESS_ANSWER + command;
    *out++ = value;
    return out;
}

static uint32_t *harness_put_frame(uint32_t *out, const uint8_t *bytes, uint32_t size)
{
    *out++ = size;
    for (uint32_t i = 0; i < size; i += 4) {
        uint32_t word = 0;
        for (uint32_t j = i; j < i + 4 && j < size; j++)
            word |= (uint32_t)bytes[j] << (8 * (j & 3));
        *out++ = word;
    }
    return out;
}

static uint32_t *harness_take(wz_harness_t *harness, uint32_t *out)
{
    const uint8_t *bytes;
    uint32_t size;
    while (!harness->idle && (size = wz_take(&harness->encoder, &bytes)) != 0)
        out = harness_put_frame(out, bytes, size);
    return out;
}

static uint32_t *harness_encode_samples(wz_harness_t *harness, const int16_t *samples, uint32_t count, uint32_t *out)
{
    for (; count != 0; count--)
        if (wz_encode_sample(&harness->encoder, *samples++))
            out = harness_take(harness, out);
    return out;
}

static uint32_t *harness_encode_block(wz_harness_t *harness, const int16_t *samples, uint32_t count, uint32_t *out)
{
    while (count != 0) {
        uint32_t done = wz_encode_block(&harness->encoder, samples, count);
        samples += done;
        count -= done;
        out = harness_take(harness, out);
    }
    return out;
}

static uint32_t *harness_encode_absent(wz_harness_t *harness, uint32_t count, uint32_t *out)
{
    for (; count != 0; count--)
        if (wz_encode_absent(&harness->encoder))
            out = harness_take(harness, out);
    return out;
}

static wz_status_t harness_start(wz_harness_t *harness, const uint32_t *arguments)
{
    wz_node_t *node = &harness->node;
    node->period_us = ((uint64_t)arguments[4] << 32) | arguments[3];
    node->start_ms = ((uint64_t)arguments[6] << 32) | arguments[5];
    node->node_id = (uint16_t)arguments[7];
    node->boot_epoch = (uint16_t)arguments[8];
    node->link = (uint8_t)arguments[9];
    return wz_start(&harness->encoder, &harness->model[arguments[0]], node, (uint8_t *)harness + arguments[1], arguments[2]);
}

static uint32_t harness_level_check(const uint32_t *arguments)
{
    uint32_t c = WZ_CHECK_INIT;
    for (uint32_t i = 0; i < arguments[1]; i++)
        c = wz_check_step(c, arguments[2 + i] & 255);
    return wz_check_fold(c, arguments[0]);
}

#if WZ_WITH_RANGE_CODER
/* Into the memory behind `out`, from where the frame is copied down. */
static uint32_t *harness_range_coder(wz_harness_t *harness, const uint32_t *steps, uint32_t count, uint32_t *out)
{
    wz_encoder_t *encoder = &harness->encoder;
    encoder->payload = (uint8_t *)(out + 2 + count);
    encoder->position = 0;
    wz_start_coder(encoder);
    for (; count != 0; count--, steps += 3)
        if (steps[1] != 0)
            wz_encode_symbol(encoder, steps[0], steps[1], steps[2]);
        else
            wz_encode_bits(encoder, steps[0], steps[2]);
    wz_finish_coder(encoder);
    return harness_put_frame(out, encoder->payload, encoder->position);
}
#endif

uint32_t wz_harness_run(wz_harness_t *harness, const uint32_t *commands, uint32_t *out)
{
    const uint32_t *begin = out;
    uint8_t *memory = (uint8_t *)harness;
    for (;;) {
        uint32_t command = *commands++;
        switch (command) {
        case HARNESS_OPEN:
            out = harness_answer(out, command,
                         (uint32_t)wz_model_open(&harness->model[commands[0]], memory + commands[1], commands[2], memory + commands[3],
                                                 &harness->rejected));
            commands += 4;
            break;
        case HARNESS_START:
            out = harness_take(harness, harness_answer(out, command, (uint32_t)harness_start(harness, commands)));
            commands += 10;
            break;
        case HARNESS_RESUME:
            wz_resume(&harness->encoder, commands[0], (uint16_t)commands[1], commands[2]);
            commands += 3;
            break;
        case HARNESS_SAMPLES:
            out = harness_encode_samples(harness, (const int16_t *)(commands + 1), commands[0], out);
            commands += 1 + (commands[0] + 1) / 2;
            break;
        case HARNESS_BLOCK:
            out = harness_encode_block(harness, (const int16_t *)(commands + 1), commands[0], out);
            commands += 1 + (commands[0] + 1) / 2;
            break;
        case HARNESS_ABSENT:
            out = harness_encode_absent(harness, *commands++, out);
            break;
        case HARNESS_FLUSH:
            wz_flush(&harness->encoder);
            out = harness_take(harness, out);
            break;
        case HARNESS_ANNOUNCE:
            wz_announce(&harness->encoder);
            out = harness_take(harness, out);
            break;
        case HARNESS_RATE:
            out = harness_answer(out, command, (uint32_t)wz_set_rate_point(&harness->encoder, *commands++));
            break;
        case HARNESS_SWITCH:
            out = harness_answer(out, command,
                         (uint32_t)wz_switch_model(&harness->encoder, &harness->model[commands[0]], memory + commands[1], commands[2]));
            out = harness_take(harness, out);
            commands += 3;
            break;
        case HARNESS_TAKING:
            harness->idle = !*commands++;
            out = harness_take(harness, out);
            break;
        case HARNESS_COUNTERS:
            out = harness_answer(out, command, harness->encoder.saturated);
            out = harness_answer(out, command, harness->encoder.overruns);
            out = harness_answer(out, command, harness->rejected);
            break;
        case HARNESS_BUFFER:
            out = harness_answer(out, command, wz_buffer_bytes(&harness->model[*commands++]));
            break;
        case HARNESS_SAT16:
            out = harness_answer(out, command, (uint32_t)wz_sat16((int32_t)*commands++));
            break;
        case HARNESS_SHIFT:
            out = harness_answer(out, command, (uint32_t)wz_shift_round((int32_t)commands[0], commands[1]));
            commands += 2;
            break;
        case HARNESS_LENGTH:
            out = harness_answer(out, command, wz_bit_length(*commands++));
            break;
        case HARNESS_CHECK:
            out = harness_answer(out, command, harness_level_check(commands));
            commands += 2 + commands[1];
            break;
#if WZ_WITH_RANGE_CODER
        case HARNESS_CODER:
            out = harness_range_coder(harness, commands + 1, commands[0], out);
            commands += 1 + 3 * commands[0];
            break;
#endif
        case HARNESS_USE:
            out = harness_answer(out, command, (uint32_t)wz_use_buffer(&harness->encoder, memory + *commands++));
            break;
        default: /* HARNESS_END */
            return (uint32_t)(out - begin);
        }
    }
}
