/* A port of memory for the tests of the device: flash that can lose power at any write, a wire of two buffers. */
#ifndef RAM_PORT_H
#define RAM_PORT_H

#include <setjmp.h>

#include "device/wz_device.h"

#define PAGE_BYTES 64 /* eight journal records: pages are turned all the time */
#define SLOT_BYTES 512
#define FLASH_BYTES (2 * PAGE_BYTES + 2 * SLOT_BYTES)
#define BUFFER_BYTES 128

typedef enum { CUT_BEFORE, CUT_TORN, CUT_BEHIND } cut_t; /* how much of the step that is cut still happens */

typedef struct {
    uint8_t flash[FLASH_BYTES];
    long steps;         /* words programmed and pages erased so far */
    long cut_step;      /* the step at which power goes; negative: never */
    cut_t cut;
    jmp_buf power_off;  /* where that leads */
    jmp_buf restart;    /* where wz_port_reset leads */
    unsigned fail_one_in; /* flash operations that report a failure; 0: none */
    uint8_t in[4096];   /* to the device */
    size_t in_bytes, in_at;
    size_t out_room;    /* bytes that the device may send */
    size_t out_bytes;   /* sent, ever */
    size_t lines;       /* newlines sent, ever */
    uint32_t seed;
} ram_port_t;

extern ram_port_t port;
extern const wz_board_t board;

/* Ends the program with status 1. */
void abort_test(const char *what);

uint32_t random_word(void);
void erase_all(void);

/* A file into `bytes`; its size. */
size_t read_file(const char *path, uint8_t *bytes, size_t capacity);

/* A message as lines, appended to what the device will read. */
void send_message(const uint8_t *message, size_t count);

/* Requests of the commands that the tests need, also appended. */
void send_upload(uint32_t offset, uint32_t length, const uint8_t *bytes, size_t count);
void send_state(const uint8_t *hash, int confirm);
void send_plain(unsigned group, unsigned command, unsigned operation);

#endif
