/* The commands (SPEC 12.3): one request in, one line out. */
#include "../packet.h"
#include "wz_bytes.h"
#include "wz_cbor.h"
#include "wz_device.h"

enum { READ = 0, WRITE = 2, HEADER_BYTES = 8, ECHO_BYTES = 64, MAP_BYTES = WZ_ANSWER_BYTES - HEADER_BYTES };
enum { FAILED = 1, TOO_LARGE = 2, INVALID = 3, NO_IMAGE = 5, BAD_STATE = 6, NOT_SUPPORTED = 8, CORRUPT = 9 };
enum { GROUP_OS = 0, GROUP_IMAGE = 1, GROUP_NODE = 64 };

#define KEY(group, command, operation) ((uint32_t)(group) << 16 | (uint32_t)(command) << 8 | (uint32_t)(operation))

typedef struct {
    wz_device_t *device;
    const wz_request_t *request;
    wz_answer_t *answer;
} wz_call_t;

static int has(const wz_call_t *call, unsigned key)
{
    return call->request->seen >> key & 1u;
}

static void fail(const wz_call_t *call, unsigned code, const char *reason)
{
    wz_answer_t *answer = call->answer;

    wz_cbor_open(answer, answer->map, (size_t)(answer->end - answer->map));
    wz_cbor_uint(answer, "rc", code);
    wz_cbor_key(answer, "rsn");
    wz_cbor_text(answer, reason);
}

static void fail_flash(const wz_call_t *call)
{
    wz_device_flash_failed(call->device);
    fail(call, FAILED, "flash");
}

/* The slot that does not run. */
static unsigned other_slot(const wz_device_t *device)
{
    return device->running == 0;
}

/* ------------------------------------------------------------------------------------------------ group 0 */

static void echo(const wz_call_t *call)
{
    const wz_field_t *text = &call->request->field[WZ_KEY_D];

    if (!has(call, WZ_KEY_D)) {
        fail(call, INVALID, "d");
    } else if (text->value > ECHO_BYTES) {
        fail(call, TOO_LARGE, "d");
    } else {
        wz_cbor_key(call->answer, "r");
        wz_cbor_string(call->answer, WZ_CBOR_TEXT, text->bytes, text->value);
    }
}

static void parameters(const wz_call_t *call)
{
    wz_cbor_uint(call->answer, "buf_size", WZ_SMP_BUFFER);
    wz_cbor_uint(call->answer, "buf_count", 1);
}

/* ------------------------------------------------------------------------------------------------ group 1 */

static void image_state(const wz_call_t *call)
{
    const wz_device_t *device = call->device;
    wz_answer_t *answer = call->answer;
    uint8_t *map = answer->map;
    uint8_t *array;
    unsigned slot;

    wz_cbor_key(answer, "images");
    array = answer->at;
    wz_cbor_head(answer, WZ_CBOR_ARRAY, 0);
    for (slot = 0; slot < 2; slot++) {
        wz_model_t model;

        if (wz_slot_refuse(&device->slots, slot, &model) != NULL) {
            continue;
        }
        ++*array;
        answer->map = answer->at;
        wz_cbor_head(answer, WZ_CBOR_MAP, 0);
        wz_cbor_uint(answer, "slot", slot);
        wz_cbor_key(answer, "version");
        wz_cbor_text(answer, "");
        wz_cbor_key(answer, "hash");
        wz_cbor_string(answer, WZ_CBOR_BYTES, wz_image_check(wz_slot(&device->slots, slot)), WZ_IMAGE_CHECK_BYTES);
        if (slot == device->running) {
            wz_cbor_bool(answer, "active", 1);
        }
        if (slot == device->slots.confirmed) {
            wz_cbor_bool(answer, "confirmed", 1);
        }
    }
    answer->map = map;
}

static int names(const wz_call_t *call, unsigned slot)
{
    const wz_field_t *hash = &call->request->field[WZ_KEY_HASH];

    return hash->value == WZ_IMAGE_CHECK_BYTES &&
           wz_same(hash->bytes, wz_image_check(wz_slot(&call->device->slots, slot)), WZ_IMAGE_CHECK_BYTES);
}

static void confirm(const wz_call_t *call)
{
    wz_device_t *device = call->device;

    if (device->running == WZ_SLOT_NONE || (has(call, WZ_KEY_HASH) && !names(call, device->running))) {
        fail(call, BAD_STATE, "not running");
        return;
    }
    if (device->trial) {
        if (!wz_slots_record(&device->slots, device->slots.epoch, device->running)) {
            fail_flash(call);
            return;
        }
        device->trial = 0;
        wz_device_event(device, WZ_EVENT_CONFIRMED);
    }
    image_state(call);
}

static void test(const wz_call_t *call)
{
    wz_device_t *device = call->device;
    unsigned slot = other_slot(device);
    const char *fault;

    if (device->trial) {
        fail(call, BAD_STATE, "trial");
        return;
    }
    fault = wz_slot_refuse(&device->slots, slot, &device->model[slot]);
    if (fault == NULL && !names(call, slot)) {
        fail(call, NO_IMAGE, "hash");
    } else if (fault != NULL) {
        fail(call, CORRUPT, fault);
    } else {
        device->trial = 1;
        device->fallback = device->running;
        device->trial_end_s = device->uptime_s + 1 + wz_image_trial_s(wz_slot(&device->slots, slot));
        wz_device_event(device, WZ_EVENT_TEST);
        wz_device_run(device, slot);
        image_state(call);
    }
}

static void write_state(const wz_call_t *call)
{
    if (call->request->field[WZ_KEY_CONFIRM].value) {
        confirm(call);
    } else if (has(call, WZ_KEY_HASH)) {
        test(call);
    } else {
        fail(call, INVALID, "hash");
    }
}

/* Whether the request names the upload under way, or the one just completed. */
static int continues(const wz_call_t *call)
{
    const wz_upload_t *upload = &call->device->upload;
    const wz_field_t *sha = &call->request->field[WZ_KEY_SHA];

    return upload->length && upload->named && sha->value >= sizeof upload->sha && upload->length == call->request->field[WZ_KEY_LEN].value &&
           wz_same(sha->bytes, upload->sha, sizeof upload->sha);
}

/* A confirmed image that does not run was refused at boot: what replaces it is not confirmed. 0 if the flash failed. */
static int forget_confirmed(wz_device_t *device)
{
    return other_slot(device) != device->slots.confirmed || wz_slots_record(&device->slots, device->slots.epoch, WZ_SLOT_NONE);
}

/* 0 if the request was refused. */
static int begin_upload(const wz_call_t *call)
{
    wz_device_t *device = call->device;
    wz_upload_t *upload = &device->upload;
    const wz_field_t *sha = &call->request->field[WZ_KEY_SHA];
    uint32_t length = call->request->field[WZ_KEY_LEN].value;

    if (continues(call)) {
        return 1;
    }
    if (length < WZ_IMAGE_HEADER_BYTES + WZ_IMAGE_CHECK_BYTES || call->request->field[WZ_KEY_IMAGE].value) {
        fail(call, INVALID, "len or image");
        return 0;
    }
    if (length > device->slots.board->slot_bytes) {
        fail(call, TOO_LARGE, "len");
        return 0;
    }
    *upload = (wz_upload_t){0};
    if (!forget_confirmed(device) || !wz_slot_erase(&device->slots, other_slot(device))) {
        fail_flash(call);
        return 0;
    }
    upload->length = length;
    if (sha->value >= sizeof upload->sha) {
        wz_copy(upload->sha, sha->bytes, sizeof upload->sha);
        upload->named = 1;
    }
    wz_device_event(device, WZ_EVENT_UPLOAD);
    return 1;
}

/* Multiples of 8 bytes, and the end filled up to one; 0 if the flash failed. */
static int store(wz_device_t *device, const uint8_t *bytes, uint32_t count)
{
    wz_upload_t *upload = &device->upload;
    unsigned slot = other_slot(device);
    uint32_t whole = count & ~(uint32_t)7;
    uint8_t last[8];
    uint32_t index;

    if (!wz_slot_write(&device->slots, slot, upload->offset, bytes, whole)) {
        return 0;
    }
    upload->offset += whole;
    if (whole == count || upload->offset + (count - whole) != upload->length) {
        return 1;
    }
    for (index = 0; index < sizeof last; index++) {
        last[index] = whole + index < count ? bytes[whole + index] : 0xFF;
    }
    if (!wz_slot_write(&device->slots, slot, upload->offset, last, sizeof last)) {
        return 0;
    }
    upload->offset = upload->length;
    return 1;
}

static void end_upload(const wz_call_t *call)
{
    wz_device_t *device = call->device;
    unsigned slot = other_slot(device);
    int valid = wz_slot_refuse(&device->slots, slot, &device->model[slot]) == NULL;

    wz_cbor_bool(call->answer, "match", valid);
    if (valid) {
        return;
    }
    device->counter[WZ_REFUSED_IMAGES]++;
    wz_device_event(device, WZ_EVENT_REFUSED);
    device->upload.length = 0;
}

static void upload(const wz_call_t *call)
{
    wz_device_t *device = call->device;
    wz_upload_t *state = &device->upload;
    const wz_field_t *data = &call->request->field[WZ_KEY_DATA];
    uint32_t offset = call->request->field[WZ_KEY_OFF].value;

    if (!has(call, WZ_KEY_OFF) || !has(call, WZ_KEY_DATA)) {
        fail(call, INVALID, "off or data");
        return;
    }
    if (device->trial) {
        fail(call, BAD_STATE, "trial");
        return;
    }
    if (offset == 0 && !begin_upload(call)) {
        return;
    }
    if (state->length == 0) {
        fail(call, BAD_STATE, "no upload");
        return;
    }
    if (offset == state->offset) {
        if (data->value > state->length - offset) {
            fail(call, INVALID, "data");
            return;
        }
        if (!store(device, data->bytes, data->value)) {
            state->length = 0;
            fail_flash(call);
            return;
        }
    }
    wz_cbor_uint(call->answer, "off", state->offset);
    if (state->offset == state->length) {
        end_upload(call);
    }
}

/* ------------------------------------------------------------------------------------------------ group 64 */

static void info(const wz_call_t *call)
{
    const wz_board_t *board = call->device->slots.board;

    wz_cbor_uint(call->answer, "protocol", WZ_DEVICE_PROTOCOL);
    wz_cbor_key(call->answer, "board");
    wz_cbor_text(call->answer, board->name);
    wz_cbor_key(call->answer, "runtime");
    wz_cbor_text(call->answer, WZ_DEVICE_VERSION);
    wz_cbor_uint(call->answer, "schemes", WZ_DEVICE_SCHEMES);
    wz_cbor_uint(call->answer, "slot", board->slot_bytes);
    wz_cbor_uint(call->answer, "buffer", board->buffer_bytes);
}

static void put_id(wz_answer_t *answer, const char *key, const wz_model_t *model)
{
    wz_cbor_key(answer, key);
    wz_cbor_string(answer, WZ_CBOR_BYTES, model->id, WZ_MODEL_ID_BYTES);
}

static void state(const wz_call_t *call)
{
    const wz_device_t *device = call->device;
    wz_answer_t *answer = call->answer;
    wz_model_t other;

    wz_cbor_uint(answer, "epoch", device->slots.epoch);
    if (device->running != WZ_SLOT_NONE) {
        wz_cbor_uint(answer, "node", device->node.node_id);
        put_id(answer, "model", &device->model[device->running]);
    }
    if (wz_slot_refuse(&device->slots, other_slot(device), &other) == NULL) {
        put_id(answer, "other", &other);
    }
    if (device->trial) {
        wz_cbor_uint(answer, "trial", device->trial_end_s - device->uptime_s);
    }
}

static void counters(const wz_call_t *call)
{
    wz_device_t *device = call->device;
    unsigned index;

    device->counter[WZ_BAD_LINES] = device->request.bad;
    wz_cbor_key(call->answer, "c");
    wz_cbor_head(call->answer, WZ_CBOR_ARRAY, WZ_COUNTERS);
    for (index = 0; index < WZ_COUNTERS; index++) {
        uint32_t more = index == WZ_SATURATED && device->running != WZ_SLOT_NONE ? device->encoder.saturated : 0;

        wz_cbor_head(call->answer, WZ_CBOR_UINT, device->counter[index] + more);
    }
}

static void event_log(const wz_call_t *call)
{
    const wz_device_t *device = call->device;
    unsigned index;

    wz_cbor_key(call->answer, "log");
    wz_cbor_head(call->answer, WZ_CBOR_ARRAY, device->events);
    for (index = 0; index < device->events; index++) {
        wz_cbor_head(call->answer, WZ_CBOR_ARRAY, 2);
        wz_cbor_head(call->answer, WZ_CBOR_UINT, device->event[index]);
        wz_cbor_head(call->answer, WZ_CBOR_UINT, device->event_s[index]);
    }
}

/* ------------------------------------------------------------------------------------------------ dispatch */

static void dispatch(const wz_call_t *call, uint32_t key)
{
    switch (key) {
    case KEY(GROUP_OS, 0, WRITE):
        echo(call);
        break;
    case KEY(GROUP_OS, 5, WRITE):
        call->device->reset_due = 1;
        break;
    case KEY(GROUP_OS, 6, READ):
        parameters(call);
        break;
    case KEY(GROUP_IMAGE, 0, READ):
        image_state(call);
        break;
    case KEY(GROUP_IMAGE, 0, WRITE):
        write_state(call);
        break;
    case KEY(GROUP_IMAGE, 1, WRITE):
        upload(call);
        break;
    case KEY(GROUP_NODE, 0, READ):
        info(call);
        break;
    case KEY(GROUP_NODE, 1, READ):
        state(call);
        break;
    case KEY(GROUP_NODE, 2, READ):
        counters(call);
        break;
    case KEY(GROUP_NODE, 3, READ):
        event_log(call);
        break;
    case KEY(GROUP_NODE, 4, WRITE):
        call->device->resume_due = 1;
        break;
    case KEY(GROUP_NODE, 5, WRITE):
        wz_device_revert(call->device, WZ_EVENT_REVERTED);
        break;
    default:
        fail(call, NOT_SUPPORTED, "command");
    }
}

void wz_device_answer(wz_device_t *device, const uint8_t *message, size_t count)
{
    uint8_t out[2 + WZ_ANSWER_BYTES + 2]; /* two bytes on each side for length and check */
    uint8_t *header = out + 2;
    unsigned operation;
    wz_request_t request;
    wz_answer_t answer;
    wz_call_t call;

    operation = message[0] & 7u;
    if (count < HEADER_BYTES || (operation != READ && operation != WRITE) || message[0] > 15 || wz_big16(message + 2) != count - HEADER_BYTES) {
        device->request.bad++;
        return;
    }
    device->smp_mode = 1;
    device->resume_due = 0;
    device->idle_ms = 0;
    device->counter[WZ_REQUESTS]++;
    wz_copy(header, message, HEADER_BYTES);
    call.device = device;
    call.request = &request;
    call.answer = &answer;
    wz_cbor_open(&answer, header + HEADER_BYTES, MAP_BYTES);
    if (!wz_cbor_read(&request, message + HEADER_BYTES, count - HEADER_BYTES)) {
        fail(&call, INVALID, "cbor");
    } else {
        dispatch(&call, wz_big16(message + 4) > 255 ? ~(uint32_t)0 : KEY(wz_big16(message + 4), message[7], operation));
    }
    if (answer.full) {
        fail(&call, TOO_LARGE, "answer");
    }
    header[0] = (uint8_t)(header[0] + 1);
    header[1] = 0;
    header[2] = 0;
    header[3] = (uint8_t)(answer.at - answer.map);
    device->line_bytes = (uint8_t)wz_line_write(device->line, out, HEADER_BYTES + (size_t)header[3]);
    device->line_sent = 0;
}
