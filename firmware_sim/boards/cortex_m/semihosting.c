/* The recording, read from the host through semihosting calls: firmware asks, so nothing comes faster than it is wanted.
 *
 * The path is what follows the first blank of the command line. Where reading stands survives a restart, as flash does.
 */
#include "../common/recording.h"

#define POSITION_MAGIC 0x53454D49u

enum { SYS_OPEN = 0x01, SYS_READ = 0x06, SYS_SEEK = 0x0A, SYS_GET_CMDLINE = 0x15, MODE_RB = 1, PATH_BYTES = 200 };
enum { UNOPENED = -2, NONE = -1 };

static int file = UNOPENED;

__attribute__((section(".noinit"))) static struct {
    uint32_t magic;
    uint32_t bytes;
} position;

static int call(int operation, const uint32_t *block)
{
    register int r0 __asm("r0") = operation;
    register const uint32_t *r1 __asm("r1") = block;

    __asm volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

static int open_recording(void)
{
    static char line[PATH_BYTES];
    uint32_t block[3] = {(uint32_t)line, sizeof line, 0};
    char *path = line;
    uint32_t length = 0;

    if (call(SYS_GET_CMDLINE, block) != 0) {
        return NONE;
    }
    while (*path && *path != ' ') {
        path++;
    }
    if (*path++ == 0) {
        return NONE;
    }
    while (path[length]) {
        length++;
    }
    block[0] = (uint32_t)path;
    block[1] = MODE_RB;
    block[2] = length;
    file = call(SYS_OPEN, block);
    if (position.magic != POSITION_MAGIC) {
        position.magic = POSITION_MAGIC;
        position.bytes = 0;
    }
    block[0] = (uint32_t)file;
    block[1] = position.bytes;
    return file >= 0 && call(SYS_SEEK, block) == 0 ? file : NONE;
}

size_t recording_read(uint8_t *bytes, size_t capacity)
{
    uint32_t block[3];
    size_t missing;

    if (file == UNOPENED) {
        file = open_recording();
    }
    if (file < 0) {
        return 0;
    }
    block[0] = (uint32_t)file;
    block[1] = (uint32_t)bytes;
    block[2] = (uint32_t)capacity;
    missing = (size_t)call(SYS_READ, block);
    if (missing > capacity) {
        return 0;
    }
    position.bytes += (uint32_t)(capacity - missing);
    return capacity - missing;
}
