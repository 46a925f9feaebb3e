/* The node as a process: the same C as on a chip, with a pseudo terminal for its UART and a file for its flash.
 *
 *     node FLASH [RECORDING]
 *
 * Prints the path of the terminal and plays the recording (a file that may grow, or a FIFO). Keeps its own end of the terminal open, so
 * that hosts may come and go; what nobody reads waits, and then the node's queue fills as it would on a wire that is held up.
 */
#define _XOPEN_SOURCE 700

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "../common/recording.h"

#define PAGE_BYTES 1024u
#define SLOT_BYTES (16u * PAGE_BYTES)
#define FLASH_BYTES (2 * PAGE_BYTES + 2 * SLOT_BYTES)

static uint8_t *flash;
static int terminal = -1;
static int recording = -1;
static jmp_buf restart;
static uint32_t buffer[4096 / 4];
static uint8_t queue[WZ_QUEUE_BYTES(sizeof buffer)];

/* ------------------------------------------------------------------------------------------------ port */

size_t wz_port_read(uint8_t *bytes, size_t capacity)
{
    ssize_t count = read(terminal, bytes, capacity);

    return count > 0 ? (size_t)count : 0;
}

size_t wz_port_write(const uint8_t *bytes, size_t count)
{
    ssize_t written = write(terminal, bytes, count);

    return written > 0 ? (size_t)written : 0;
}

int wz_port_flash(uint32_t offset, const uint32_t *words, uint32_t count)
{
    const uint8_t *bytes = (const uint8_t *)words;
    uint32_t index;

    if (words == NULL) {
        memset(flash + offset, 0xFF, PAGE_BYTES);
    } else {
        for (index = 0; index < 4 * count; index++) {
            flash[offset + index] &= bytes[index]; /* programming only clears bits */
        }
    }
    return 0;
}

void wz_port_reset(void)
{
    longjmp(restart, 1);
}

size_t recording_read(uint8_t *bytes, size_t capacity)
{
    ssize_t count = recording < 0 ? 0 : read(recording, bytes, capacity);

    return count > 0 ? (size_t)count : 0;
}

/* ------------------------------------------------------------------------------------------------ process */

static void fail(const char *what)
{
    fprintf(stderr, "node: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void open_flash(const char *path)
{
    struct stat status;
    int file = open(path, O_RDWR | O_CREAT, 0666);
    off_t had;

    if (file < 0 || fstat(file, &status) != 0) {
        fail(path);
    }
    had = status.st_size;
    if (ftruncate(file, FLASH_BYTES) != 0) {
        fail(path);
    }
    flash = mmap(NULL, FLASH_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (flash == MAP_FAILED) {
        fail(path);
    }
    if (had < (off_t)FLASH_BYTES) {
        memset(flash + had, 0xFF, FLASH_BYTES - (size_t)had);
    }
    close(file);
}

static void open_terminal(void)
{
    struct termios settings;
    int own_end;

    terminal = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
    if (terminal < 0 || grantpt(terminal) != 0 || unlockpt(terminal) != 0) {
        fail("pseudo terminal");
    }
    own_end = open(ptsname(terminal), O_RDWR | O_NOCTTY);
    if (own_end < 0 || tcgetattr(own_end, &settings) != 0) {
        fail("pseudo terminal");
    }
    settings.c_iflag = 0;
    settings.c_oflag = 0;
    settings.c_lflag = 0;
    settings.c_cflag |= CS8;
    if (tcsetattr(own_end, TCSANOW, &settings) != 0) {
        fail("pseudo terminal");
    }
    printf("%s\n", ptsname(terminal));
    fflush(stdout);
}

static uint32_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint32_t)((uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000);
}

int main(int count, char **argument)
{
    static wz_device_t device;
    static wz_board_t board = {"host", NULL, PAGE_BYTES, SLOT_BYTES, (uint8_t *)buffer, sizeof buffer, queue, sizeof queue};
    static uint32_t last_ms;

    if (count < 2 || count > 3) {
        fprintf(stderr, "usage: node FLASH [RECORDING]\n");
        return 2;
    }
    open_flash(argument[1]);
    open_terminal();
    if (count == 3 && (recording = open(argument[2], O_RDONLY | O_NONBLOCK)) < 0) {
        fail(argument[2]);
    }
    board.flash = flash;
    last_ms = now_ms();
    setjmp(restart);
    wz_device_start(&device, &board);
    for (;;) {
        struct pollfd wire = {terminal, POLLIN, 0};
        uint32_t time_ms = now_ms();
        int played = recording_play(&device);

        wz_device_poll(&device, time_ms - last_ms);
        last_ms = time_ms;
        if (!played) {
            poll(&wire, 1, 1);
        }
    }
}
