/* nRF51822: 16 KB of RAM, of which the pretended flash takes a part. */
#define BOARD_NAME "microbit"
#define CLOCK_HZ 16000000u
#define PAGE_BYTES 256
#define SLOT_BYTES 3072
#define BUFFER_BYTES 768
