/* MPS2 with a Cortex-M3: megabytes of RAM. */
#define BOARD_NAME "mps2-an385"
#define CLOCK_HZ 25000000u
#define PAGE_BYTES 1024
#define SLOT_BYTES 16384
#define BUFFER_BYTES 4096
