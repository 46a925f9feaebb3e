/* Cuts the power at each flash step of a whole life: two images deployed in turn, with restarts; and again while the node recovers.
 *
 *     power_cut IMAGE_A IMAGE_B
 *
 * After each cut the node must run what was confirmed before the cut, or what was being confirmed; its boot epoch must be one that was never
 * used; and it must take the next image. Prints how many cuts were made.
 */
#include <stdio.h>
#include <string.h>

#include "ram_port.h"

#define DEPLOYMENTS 6
#define PIECE 48

static wz_device_t device;
static uint8_t image[2][SLOT_BYTES];
static size_t image_bytes[2];
static long cuts;

/* What the outside knows; kept apart from the device, as it outlives its power. */
static struct {
    int confirmed;  /* image, -1: none */
    int confirming; /* the image whose confirmation is under way, -1: none */
    int epoch;      /* the last one seen on the wire, -1: none */
    int deployed;   /* deployments that came to their end */
} known;

static void check(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "cut %d at step %ld after %d deployments: %s\n", port.cut, port.cut_step, known.deployed, what);
        abort_test("failed");
    }
}

static int running_image(void)
{
    int which;

    if (device.running == WZ_SLOT_NONE) {
        return -1;
    }
    for (which = 0; which < 2; which++) {
        if (memcmp(wz_slot(&device.slots, device.running), image[which], image_bytes[which]) == 0) {
            return which;
        }
    }
    check(0, "what runs is no image that was sent");
    return -1;
}

static void poll_device(void)
{
    int times;

    for (times = 0; times < 8; times++) {
        port.out_room = 4096;
        wz_device_poll(&device, 1);
    }
}

static void saw_epoch(void)
{
    if (device.running != WZ_SLOT_NONE) {
        known.epoch = device.node.boot_epoch;
    }
}

static void boot(void)
{
    int before = known.epoch;

    port.in_at = port.in_bytes = 0;
    wz_device_start(&device, &board);
    check(running_image() == known.confirmed || (known.confirming >= 0 && running_image() == known.confirming),
          "runs neither the image before nor the one after");
    if (device.running != WZ_SLOT_NONE) {
        check(device.node.boot_epoch > before, "the boot epoch was used before");
    }
    known.confirmed = running_image();
    known.confirming = -1;
    saw_epoch();
    poll_device();
}

static void deploy(int which)
{
    uint32_t offset;
    int index;

    for (offset = 0; offset < image_bytes[which]; offset += PIECE) {
        size_t left = image_bytes[which] - offset;

        send_upload(offset, (uint32_t)image_bytes[which], image[which] + offset, left < PIECE ? left : PIECE);
        poll_device();
    }
    send_state(image[which] + image_bytes[which] - 4, 0);
    poll_device();
    check(device.trial && running_image() == which, "the new image is not on trial");
    saw_epoch();
    for (index = 0; index < 40; index++) {
        wz_device_sample(&device, (int16_t)index);
        poll_device();
    }
    known.confirming = which;
    send_state(image[which] + image_bytes[which] - 4, 1);
    poll_device();
    check(!device.trial && running_image() == which, "the new image is not confirmed");
    known.confirmed = which;
    known.confirming = -1;
    known.deployed++;
}

/* Alternating images and restarts, from wherever the node stands; six deployments turn the journal's pages several times. */
static void live(void)
{
    boot();
    while (known.deployed < DEPLOYMENTS) {
        deploy(known.confirmed == 0);
        boot();
        boot();
    }
}

static void forget(void)
{
    erase_all();
    known.confirmed = known.confirming = known.epoch = -1;
    known.deployed = 0;
    port.steps = 0;
}

/* A life with one cut at `first`, and if `second` is not negative another one so many steps after power is back. */
static void cut_life(long first, cut_t cut, long second)
{
    forget();
    port.cut = cut;
    port.cut_step = first;
    if (setjmp(port.power_off) == 0) {
        live();
        check(0, "the cut never came");
    }
    cuts++;
    port.cut_step = second < 0 ? -2 : port.steps + second;
    if (setjmp(port.power_off) == 0) {
        live();
    } else {
        cuts++;
        port.cut_step = -2;
        live();
    }
    check(known.deployed == DEPLOYMENTS, "did not live to the end");
}

int main(int count, char **argument)
{
    long steps;
    long first;
    int cut;

    if (count != 3) {
        return 2;
    }
    port.seed = 1;
    image_bytes[0] = read_file(argument[1], image[0], SLOT_BYTES);
    image_bytes[1] = read_file(argument[2], image[1], SLOT_BYTES);
    forget();
    port.cut_step = -2;
    live();
    steps = port.steps;
    for (first = 0; first < steps; first++) {
        for (cut = CUT_BEFORE; cut <= CUT_BEHIND; cut++) {
            cut_life(first, (cut_t)cut, -1);
            cut_life(first, (cut_t)cut, (long)(random_word() % 3));
            cut_life(first, (cut_t)cut, (long)(random_word() % 60));
        }
    }
    printf("steps %ld cuts %ld\n", steps, cuts);
    return 0;
}
