/* Modes, queue, trial and timers: see wz_device.h. */
#include "wz_device.h"

#include "../encoder.h"

/* ------------------------------------------------------------------------------------------------ log */

void wz_device_event(wz_device_t *device, unsigned event)
{
    unsigned index;

    if (device->events == WZ_DEVICE_EVENTS) {
        for (index = 1; index < WZ_DEVICE_EVENTS; index++) {
            device->event[index - 1] = device->event[index];
            device->event_s[index - 1] = device->event_s[index];
        }
        device->events--;
    }
    device->event[device->events] = (uint8_t)event;
    device->event_s[device->events++] = device->uptime_s;
}

void wz_device_flash_failed(wz_device_t *device)
{
    device->counter[WZ_FLASH_ERRORS]++;
    wz_device_event(device, WZ_EVENT_FLASH);
}

/* ------------------------------------------------------------------------------------------------ queue */

/* A frame goes in whole or not at all. */
static int queue_put(wz_device_t *device, const uint8_t *bytes, uint32_t count)
{
    wz_queue_t *queue = &device->queue;
    uint8_t *ring = device->slots.board->queue;
    uint32_t tail = queue->head + queue->count;
    uint32_t index;

    if (queue->bytes - queue->count < count) {
        return 0;
    }
    if (tail >= queue->bytes) {
        tail -= queue->bytes;
    }
    for (index = 0; index < count; index++) {
        ring[tail++] = bytes[index];
        if (tail == queue->bytes) {
            tail = 0;
        }
    }
    queue->count += count;
    return 1;
}

static uint32_t queue_room(const wz_device_t *device)
{
    return device->queue.bytes - device->queue.count;
}

static void queue_drop(wz_queue_t *queue, uint32_t count)
{
    queue->head += count;
    if (queue->head >= queue->bytes) {
        queue->head -= queue->bytes;
    }
    queue->count -= count;
}

/* ------------------------------------------------------------------------------------------------ packets */

static void lost(wz_device_t *device)
{
    device->counter[WZ_LOST_PACKETS]++;
    wz_device_event(device, WZ_EVENT_LOST);
}

/* The next frame that is ready into the queue; 0 if there is none. */
static int take(wz_device_t *device)
{
    unsigned kind = device->encoder.flags & WZ_FLAG_READY ? WZ_DATA_PACKETS : WZ_HELLO_PACKETS;
    const uint8_t *bytes;
    uint32_t count = wz_take(&device->encoder, &bytes);

    if (count == 0) {
        return 0;
    }
    if (queue_put(device, bytes, count)) {
        device->counter[kind]++;
    } else {
        lost(device);
    }
    return 1;
}

/* All that is ready; while any packet would fit, so that none is taken and then lost. */
static void collect(wz_device_t *device)
{
    while (device->running != WZ_SLOT_NONE && queue_room(device) >= device->slots.board->buffer_bytes) {
        if (!take(device)) {
            return;
        }
    }
}

/* Packets that the encoder gave up: the host learns by a hello where the next one stands. */
static void look_at_overruns(wz_device_t *device)
{
    if (device->overruns == device->encoder.overruns) {
        return;
    }
    device->overruns = device->encoder.overruns;
    lost(device);
    wz_announce(&device->encoder);
}

static void after_sample(wz_device_t *device, int completed)
{
    look_at_overruns(device);
    if (completed) {
        collect(device);
    }
}

void wz_device_sample(wz_device_t *device, int16_t sample)
{
    device->counter[WZ_SAMPLES]++;
    if (device->running != WZ_SLOT_NONE) {
        after_sample(device, wz_encode_sample(&device->encoder, sample));
    }
}

void wz_device_absent(wz_device_t *device)
{
    device->counter[WZ_SAMPLES]++;
    device->counter[WZ_ABSENT]++;
    if (device->running != WZ_SLOT_NONE) {
        after_sample(device, wz_encode_absent(&device->encoder));
    }
}

void wz_device_flush(wz_device_t *device)
{
    if (device->running != WZ_SLOT_NONE) {
        collect(device);
        wz_flush(&device->encoder);
        collect(device);
    }
}

int wz_device_room(const wz_device_t *device)
{
    return device->running == WZ_SLOT_NONE || !(device->encoder.flags & (WZ_FLAG_READY | WZ_FLAG_HELLO));
}

/* ------------------------------------------------------------------------------------------------ models */

/* From zero, in the next boot epoch. */
static void start_encoder(wz_device_t *device, const wz_node_t *node, unsigned slot)
{
    const wz_board_t *board = device->slots.board;
    uint16_t epoch = (uint16_t)(device->slots.epoch + 1);

    if (!wz_slots_record(&device->slots, epoch, device->slots.confirmed)) {
        device->slots.epoch = epoch;
        wz_device_flash_failed(device);
    }
    device->node = *node;
    device->node.boot_epoch = epoch;
    device->running = (uint8_t)slot;
    device->overruns = 0;
    wz_start(&device->encoder, &device->model[slot], &device->node, board->buffer, board->buffer_bytes);
}

static int same_node(const wz_node_t *one, const wz_node_t *other)
{
    return one->node_id == other->node_id && one->link == other->link && one->period_us == other->period_us;
}

/* The packet begun goes out short, and a hello behind it; what does not fit the queue any more is lost, as the buffer is wanted. */
static void end_run(wz_device_t *device)
{
    if (device->running == WZ_SLOT_NONE) {
        return;
    }
    while (take(device)) {
    }
    wz_flush(&device->encoder);
    while (take(device)) {
    }
}

static void stop_encoder(wz_device_t *device)
{
    if (device->running != WZ_SLOT_NONE) {
        device->counter[WZ_SATURATED] += device->encoder.saturated;
        device->running = WZ_SLOT_NONE;
    }
}

void wz_device_run(wz_device_t *device, unsigned slot)
{
    const wz_board_t *board = device->slots.board;
    wz_node_t node;

    device->upload = (wz_upload_t){0}; /* it went to the slot that did not run until now */
    end_run(device);
    if (slot == WZ_SLOT_NONE) {
        stop_encoder(device);
        return;
    }
    wz_image_node(wz_slot(&device->slots, slot), &node);
    if (device->running != WZ_SLOT_NONE && same_node(&node, &device->node)) {
        device->running = (uint8_t)slot;
        wz_switch_model(&device->encoder, &device->model[slot], board->buffer, board->buffer_bytes);
    } else {
        stop_encoder(device);
        start_encoder(device, &node, slot);
    }
    collect(device);
}

void wz_device_revert(wz_device_t *device, unsigned event)
{
    if (device->trial) {
        device->trial = 0;
        device->counter[WZ_REVERTED_TRIALS]++;
        wz_device_event(device, event);
        wz_device_run(device, device->fallback);
    }
}

void wz_device_start(wz_device_t *device, const wz_board_t *board)
{
    unsigned confirmed;

    *device = (wz_device_t){0};
    device->queue.bytes = board->queue_bytes;
    device->running = WZ_SLOT_NONE;
    wz_device_event(device, WZ_EVENT_RESTART);
    wz_slots_open(&device->slots, board);
    confirmed = device->slots.confirmed;
    if (confirmed > 1 || wz_slot_refuse(&device->slots, confirmed, &device->model[confirmed]) != NULL) {
        wz_device_event(device, WZ_EVENT_NO_IMAGE);
    } else {
        wz_device_run(device, confirmed);
    }
}

/* ------------------------------------------------------------------------------------------------ wire */

static void data_mode(wz_device_t *device)
{
    device->smp_mode = 0;
    device->resume_due = 0;
    device->zero_due = !device->in_frame;
}

/* 0 when the port takes no more. */
static int send_line(wz_device_t *device)
{
    size_t sent = wz_port_write(device->line + device->line_sent, (size_t)device->line_bytes - device->line_sent);

    device->line_sent = (uint8_t)(device->line_sent + sent);
    if (device->line_sent < device->line_bytes) {
        return 0;
    }
    device->line_bytes = 0;
    if (device->reset_due) {
        wz_port_reset();
    }
    if (device->resume_due) {
        data_mode(device);
    }
    return 1;
}

static int send_frames(wz_device_t *device)
{
    wz_queue_t *queue = &device->queue;
    const uint8_t *ring = device->slots.board->queue;
    uint32_t part = queue->bytes - queue->head < queue->count ? queue->bytes - queue->head : queue->count;
    uint32_t sent;

    if (device->smp_mode && part) {
        part = 1; /* only to the end of this frame */
    }
    sent = part ? (uint32_t)wz_port_write(ring + queue->head, part) : 0;
    if (sent == 0) {
        return 0;
    }
    device->in_frame = ring[queue->head + sent - 1] != 0;
    queue_drop(queue, sent);
    return 1;
}

static void transmit(wz_device_t *device)
{
    static const uint8_t zero;
    int more = 1;

    while (more) {
        if (device->line_bytes && !device->in_frame) {
            more = send_line(device);
        } else if (device->smp_mode && !device->in_frame) {
            more = 0;
        } else if (device->zero_due) {
            more = wz_port_write(&zero, 1) != 0;
            device->zero_due = !more;
        } else {
            more = send_frames(device);
        }
    }
}

/* Not more than one answer at a time: what comes while one is on its way waits in the port. */
static void receive(wz_device_t *device)
{
    unsigned left = 128;
    uint8_t byte;

    while (left-- && device->line_bytes == 0 && wz_port_read(&byte, 1)) {
        size_t count = wz_line_feed(&device->request, byte);

        if (count) {
            wz_device_answer(device, device->request.buffer + 2, count);
        }
    }
}

static void clocks(wz_device_t *device, uint32_t elapsed_ms)
{
    device->uptime_ms += elapsed_ms;
    while (device->uptime_ms >= 1000) {
        device->uptime_ms -= 1000;
        device->uptime_s++;
    }
    device->idle_ms += elapsed_ms;
    if (device->smp_mode && device->line_bytes == 0 && device->idle_ms >= WZ_DEVICE_IDLE_MS) {
        data_mode(device);
    }
    if (device->trial && device->uptime_s >= device->trial_end_s) {
        wz_device_revert(device, WZ_EVENT_TRIAL_OVER);
    }
}

void wz_device_poll(wz_device_t *device, uint32_t elapsed_ms)
{
    clocks(device, elapsed_ms);
    receive(device);
    collect(device);
    transmit(device);
    collect(device);
}
