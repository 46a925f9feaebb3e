/* A node: samples in, frames out. Written once by `edge-wz export --c`; from now on it is yours. On a board, give the two functions declared
 * below; on a computer this file has them: 16-bit samples on standard input, frames on standard output. */
#include "model.h"
#include "wz.h"

#if __STDC_HOSTED__
#include <stdio.h>

static int board_read_sample(int16_t *sample)
{
    return fread(sample, sizeof *sample, 1, stdin) == 1;
}

static void board_send(const uint8_t *bytes, uint32_t count)
{
    fwrite(bytes, 1, count, stdout);
}
#else
/* The sample of this period; sleeps until there is one. False (0): the run ends. */
int board_read_sample(int16_t *sample);
/* A whole frame; may return before it has left if these bytes stay as they are until the next sample. */
void board_send(const uint8_t *bytes, uint32_t count);
#endif

/* A restart is a new boot epoch: keep it in flash, or take a random number. */
static wz_node_t node = {MODEL_PERIOD_US, 0, 1, 0, WZ_LINK_ADDRESSED};
static wz_model_t model;
static wz_encoder_t encoder;
static uint32_t buffer[MODEL_BUFFER_BYTES / 4];
static uint16_t rejected;

static void send_frames(void)
{
    const uint8_t *bytes;
    uint32_t count;
    while ((count = wz_take(&encoder, &bytes)) != 0)
        board_send(bytes, count);
}

int main(void)
{
    int16_t sample;
    if (wz_model_open(&model, model_blob, sizeof model_blob, model_id, &rejected) != WZ_OK)
        return 1;
    if (wz_start(&encoder, &model, &node, buffer, sizeof buffer) != WZ_OK)
        return 2;
    send_frames(); /* the hello */
    while (board_read_sample(&sample))
        if (wz_encode_sample(&encoder, sample))
            send_frames();
    wz_flush(&encoder);
    send_frames();
    return 0;
}
