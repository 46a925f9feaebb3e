/* Scheme `layered` (SPEC 11): a binary search in the interval table, messages kept until the packet ends, then layer by layer. There is no
 * arithmetic on the source and no filter. */
#include "bit_writer.h"
#include "fixed_point.h"
#include "range_coder.h"
#include "scheme.h"
#include "sections.h"

#if WZ_WITH_LAYERED

#if WZ_WITH_LAYER_BLOCKS
#include "polar.h"
#endif

#define NIBBLE_MESSAGES 16

typedef struct {
    wz_blob_header_t header;
    uint8_t tables, cdf_bits, check_bits, zero;
    uint8_t point[2]; /* table, sent; of each rate point */
} blob_t;

typedef struct {
    uint16_t thresholds;
    uint8_t layers, coded;
    uint8_t alphabet[WZ_MAX_LAYERS];
    int16_t threshold[1]; /* as many as there are, then the message numbers, then the cdfs */
} table_t;

/* One layer of a message, as quotients: `above`, of the prefix before it, and `own`, of the prefix with it. */
typedef struct {
    uint32_t alphabet, above, own;
} layer_t;

static const blob_t *blob_of(const wz_encoder_t *encoder)
{
    return (const blob_t *)encoder->model->blob;
}

static const table_t *table_of(const wz_encoder_t *encoder)
{
    return (const table_t *)((const uint8_t *)encoder->model->blob + encoder->packet.messages.table);
}

static uint32_t product(const table_t *table, uint32_t first, uint32_t last)
{
    uint32_t messages = 1;
    for (; first < last; first++)
        messages *= table->alphabet[first];
    return messages;
}

static const uint8_t *numbers_of(const table_t *table)
{
    return (const uint8_t *)(table->threshold + table->thresholds);
}

static uint32_t number_bytes(const table_t *table)
{
    uint32_t count = table->thresholds + 1u;
    return product(table, 0, table->layers) <= NIBBLE_MESSAGES ? (count + 1) >> 1 : count;
}

/* The inner entries of the cdfs of the layer, from the start of the table. */
static uint32_t cdfs_at(const table_t *table, uint32_t layer)
{
    uint32_t at = (12 + 2u * table->thresholds + number_bytes(table) + 1) & ~(uint32_t)1;
    for (uint32_t k = 0; k < layer; k++)
        if ((table->coded >> k) & 1)
            at += 2 * product(table, 0, k) * (table->alphabet[k] - 1u);
    return at;
}

static uint32_t table_bytes(const table_t *table)
{
    uint32_t bytes = table->coded ? cdfs_at(table, table->layers) : 12 + 2u * table->thresholds + number_bytes(table);
    return (bytes + 3) & ~(uint32_t)3;
}

/* Behind a table: words of one set, and bytes of the sets of all planes; none without blocks. */
static uint32_t set_words(const blob_t *blob)
{
    return (blob->header.packet_samples + 31u) >> 5;
}

static uint32_t planes_of(const table_t *table, uint32_t layers)
{
    uint32_t planes = 0;
    for (uint32_t k = 0; k < layers; k++)
        planes += wz_bit_length(table->alphabet[k] - 1u);
    return planes;
}

static uint32_t set_bytes(const blob_t *blob, const table_t *table)
{
    return WZ_WITH_LAYER_BLOCKS && blob->check_bits != 0 ? 4 * set_words(blob) * planes_of(table, table->layers) : 0;
}

static const table_t *table_at(const void *blob, uint32_t at)
{
    return (const table_t *)((const uint8_t *)blob + at);
}

/* Where in the blob the table begins. */
static uint32_t find_table(const blob_t *blob, uint32_t number)
{
    uint32_t at = 36 + ((2u * blob->header.rate_points + 3) & ~3u);
    for (; number != 0; number--)
        at += table_bytes(table_at(blob, at)) + set_bytes(blob, table_at(blob, at));
    return at;
}

static void begin(wz_encoder_t *encoder)
{
    encoder->packet.messages.table = find_table(blob_of(encoder), *(const uint8_t *)wz_point(encoder));
    encoder->packet.messages.count = 0;
}

/* How many thresholds are at or below x. */
static uint32_t interval_of(const table_t *table, int32_t x)
{
    uint32_t low = 0, high = table->thresholds;
    while (low < high) {
        uint32_t middle = (low + high) >> 1;
        if (table->threshold[middle] <= x)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static uint32_t number_of(const uint8_t *numbers, uint32_t nibbles, uint32_t interval)
{
    if (!nibbles)
        return numbers[interval];
    return (numbers[interval >> 1] >> (interval & 1 ? 0 : 4)) & 15;
}

static void samples(wz_encoder_t *encoder, const int16_t *samples, uint32_t count)
{
    const table_t *table = table_of(encoder);
    const uint32_t nibbles = product(table, 0, table->layers) <= NIBBLE_MESSAGES;
    uint8_t *message = wz_work(encoder) + encoder->packet.messages.count;
    encoder->packet.messages.count += count;
    for (; count != 0; count--)
        *message++ = (uint8_t)number_of(numbers_of(table), nibbles, interval_of(table, *samples++));
}

static void absent(wz_encoder_t *encoder)
{
    (void)encoder;
}

/* 65536 div d + 1 for d > 1, by which (m * it) >> 16 = m div d for m < 256. */
static uint32_t reciprocal_of(uint32_t d)
{
    uint32_t quotient = 0, rest = 1;
    for (uint32_t bit = 0; bit < 16; bit++) {
        uint32_t above = 2 * rest >= d;
        quotient = 2 * quotient + above;
        rest = above ? 2 * rest - d : 2 * rest;
    }
    return quotient + 1;
}

static layer_t layer_of(const table_t *table, uint32_t k)
{
    uint32_t below = product(table, k + 1, table->layers);
    layer_t layer = {table->alphabet[k], reciprocal_of(below * table->alphabet[k]), reciprocal_of(below)};
    return layer;
}

static uint32_t prefix_of(const layer_t *layer, uint32_t message)
{
    return (message * layer->above) >> 16;
}

static uint32_t symbol_of(const layer_t *layer, uint32_t message)
{
    return ((message * layer->own) >> 16) - prefix_of(layer, message) * layer->alphabet;
}

static void put_raw(wz_encoder_t *encoder, const table_t *table, uint32_t k, const uint8_t *message, const uint8_t *end)
{
    const layer_t layer = layer_of(table, k);
    const uint32_t bits = wz_bit_length(layer.alphabet - 1);
    for (; message != end; message++)
        wz_put_bits(encoder, symbol_of(&layer, *message), bits);
}

static void put_coded(wz_encoder_t *encoder, const table_t *table, uint32_t k, const uint8_t *message, const uint8_t *end)
{
    const layer_t layer = layer_of(table, k);
    const uint32_t bits = wz_bit_length(layer.alphabet - 1), total_bits = blob_of(encoder)->cdf_bits;
    const uint16_t *cdfs = (const uint16_t *)((const uint8_t *)table + cdfs_at(table, k));
    for (; message != end; message++) {
        uint32_t symbol = symbol_of(&layer, *message);
        if ((table->coded >> k) & 1) {
            const uint16_t *inner = cdfs + prefix_of(&layer, *message) * (layer.alphabet - 1);
            uint32_t start = symbol == 0 ? 0 : inner[symbol - 1];
            uint32_t next = symbol == layer.alphabet - 1 ? (uint32_t)1 << total_bits : inner[symbol];
            wz_encode_symbol(encoder, start, next - start, total_bits);
        } else {
            wz_encode_bits(encoder, symbol, bits);
        }
    }
}

#if WZ_WITH_LAYER_BLOCKS

/* The plane being filled, behind the messages. */
static uint32_t *plane_of(const wz_encoder_t *encoder)
{
    return (uint32_t *)(wz_work(encoder) + ((blob_of(encoder)->header.packet_samples + 3u) & ~3u));
}

/* The sent bits of one plane, bit `shift` of the messages. */
static void put_plane(wz_encoder_t *encoder, const uint8_t *messages, uint32_t count, uint32_t shift, const uint32_t *set)
{
    const uint32_t size = transform_bits(blob_of(encoder)->header.packet_samples);
    uint32_t *plane = plane_of(encoder);
    for (uint32_t w = (size + 31) >> 5; w != 0; w--)
        plane[w - 1] = 0;
    for (uint32_t i = 0; i < count; i++)
        plane[i >> 5] |= ((uint32_t)(messages[i] >> shift) & 1) << (i & 31);
    transform(plane, size);
    for (uint32_t i = 0; i < count; i++)
        if ((set[i >> 5] >> (i & 31)) & 1)
            wz_put_bits(encoder, plane[i >> 5] >> (i & 31), 1);
}

static void put_check(wz_encoder_t *encoder, const uint8_t *messages, uint32_t count, uint32_t shift)
{
    const uint32_t bits = blob_of(encoder)->check_bits, polynomial = polynomial_of(bits);
    uint32_t r = (0xFFFF0000u >> bits) & 0xFFFF;
    for (uint32_t i = 0; i < count; i++)
        r = check_step(r, (uint32_t)messages[i] >> shift, polynomial) & 0xFFFF;
    wz_put_bits(encoder, r >> (16 - bits), bits);
}

/* SPEC 11.6. */
static void put_block(wz_encoder_t *encoder, const table_t *table, uint32_t sent, const uint8_t *messages, uint32_t count)
{
    const uint32_t *set = (const uint32_t *)((const uint8_t *)table + table_bytes(table));
    uint32_t below = planes_of(table, table->layers);
    for (uint32_t k = 0; k < sent; k++) {
        for (uint32_t planes = wz_bit_length(table->alphabet[k] - 1u); planes != 0; planes--, set += set_words(blob_of(encoder)))
            put_plane(encoder, messages, count, --below, set);
        put_check(encoder, messages, count, below);
    }
    wz_fill_byte(encoder);
}

#endif

static void finish(wz_encoder_t *encoder)
{
    const table_t *table = table_of(encoder);
    const uint32_t sent = ((const uint8_t *)wz_point(encoder))[1];
    const uint8_t *messages = wz_work(encoder), *end = messages + encoder->packet.messages.count;
    uint32_t k = 0;
    encoder->packet.bits.window = 0;
    encoder->packet.bits.held = 0;
#if WZ_WITH_LAYER_BLOCKS
    if (blob_of(encoder)->check_bits != 0 && end - messages >= WZ_MIN_LAYER_BLOCK) {
        put_block(encoder, table, sent, messages, (uint32_t)(end - messages));
        return;
    }
#endif
    for (; k < sent && !((table->coded >> k) & 1); k++)
        put_raw(encoder, table, k, messages, end);
    wz_fill_byte(encoder);
    if (k == sent)
        return;
    uint32_t raw_bytes = encoder->position;
    encoder->payload += raw_bytes; /* a payload of its own, as zero bytes at its end are dropped and those before it are not */
    encoder->position = 0;
    wz_start_coder(encoder);
    for (; k < sent; k++)
        put_coded(encoder, table, k, messages, end);
    wz_finish_coder(encoder);
    encoder->payload -= raw_bytes;
    encoder->position = (uint16_t)(encoder->position + raw_bytes);
}

/* Blob section (SPEC 11.5). */
static uint32_t point_at(const void *blob, uint32_t rate_point)
{
    (void)blob;
    return 36 + 2 * rate_point;
}

static wz_need_t need(const void *blob, uint32_t rate_point)
{
    const blob_t *section = (const blob_t *)blob;
    const uint8_t *point = (const uint8_t *)blob + point_at(blob, rate_point);
    const table_t *table = table_at(blob, find_table(section, point[0]));
    uint32_t sample_bits = 0;
    for (uint32_t k = 0; k < point[1]; k++)
        sample_bits += (table->coded >> k) & 1 ? section->cdf_bits : wz_bit_length(table->alphabet[k] - 1u);
    uint32_t slots = section->header.packet_samples;
    wz_need_t need = {slots * sample_bits + (slots >> 1) + 48, slots};
#if WZ_WITH_LAYER_BLOCKS
    if (section->check_bits != 0) {
        need.payload_bits += (uint32_t)point[1] * section->check_bits;
        need.work_bytes = ((slots + 3) & ~3u) + 4 * ((transform_bits(slots) + 31) >> 5);
    }
#endif
    return need;
}

static int alphabets_hold(const table_t *table)
{
    for (uint32_t k = 0; k < WZ_MAX_LAYERS; k++) {
        uint32_t alphabet = table->alphabet[k];
        if (k >= table->layers ? alphabet != 0 : alphabet < 2 || alphabet > WZ_MAX_ALPHABET)
            return 0;
        if (!((table->coded >> k) & 1) && (alphabet & (alphabet - 1)) != 0)
            return 0;
    }
    uint32_t messages = 1;
    for (uint32_t k = 0; k < table->layers && messages <= WZ_MAX_MESSAGES; k++)
        messages *= table->alphabet[k];
    return messages <= WZ_MAX_MESSAGES;
}

static int intervals_hold(const table_t *table)
{
    uint32_t messages = product(table, 0, table->layers), count = table->thresholds + 1u;
    const uint8_t *numbers = numbers_of(table);
    if (table->threshold[0] == -32768)
        return 0;
    for (uint32_t i = 1; i < table->thresholds; i++)
        if (table->threshold[i] <= table->threshold[i - 1])
            return 0;
    for (uint32_t i = 0; i < count; i++)
        if (number_of(numbers, messages <= NIBBLE_MESSAGES, i) >= messages)
            return 0;
    return messages > NIBBLE_MESSAGES || (count & 1) == 0 || (numbers[count >> 1] & 15) == 0;
}

static int cdfs_hold(const table_t *table, uint32_t cdf_bits)
{
    for (uint32_t k = 0; k < table->layers; k++) {
        const uint16_t *inner = (const uint16_t *)((const uint8_t *)table + cdfs_at(table, k));
        for (uint32_t rows = (table->coded >> k) & 1 ? product(table, 0, k) : 0; rows != 0; rows--) {
            uint32_t last = 0;
            for (uint32_t i = table->alphabet[k] - 1u; i != 0; i--, last = *inner++)
                if (*inner <= last)
                    return 0;
            if (last >= (uint32_t)1 << cdf_bits)
                return 0;
        }
    }
    return 1;
}

/* Zero from `at` to `end`. */
static int is_zero(const void *blob, uint32_t at, uint32_t end)
{
    uint32_t any = 0;
    for (; at < end; at++)
        any |= ((const uint8_t *)blob)[at];
    return any == 0;
}

static int fill_is_zero(const table_t *table)
{
    uint32_t used = 12 + 2u * table->thresholds + number_bytes(table), bytes = table_bytes(table);
    if (!table->coded)
        return is_zero(table, used, bytes);
    return is_zero(table, used, cdfs_at(table, 0)) && is_zero(table, cdfs_at(table, table->layers), bytes);
}

#if WZ_WITH_LAYER_BLOCKS

static int sets_hold(const blob_t *blob, const table_t *table)
{
    const uint32_t *sets = (const uint32_t *)((const uint8_t *)table + table_bytes(table));
    return blob->check_bits == 0 || are_sets(sets, planes_of(table, table->layers), blob->header.packet_samples);
}

static int blocks_hold(const blob_t *blob)
{
    if (blob->check_bits == 0)
        return blob->zero == 0;
    return is_check(blob->check_bits) && blob->zero == 0 && blob->header.packet_samples >= WZ_MIN_LAYER_BLOCK && blob->cdf_bits == 0;
}

#else

static int sets_hold(const blob_t *blob, const table_t *table)
{
    (void)blob;
    (void)table;
    return 1;
}

static int blocks_hold(const blob_t *blob)
{
    return is_zero(blob, 34, 36);
}

#endif

/* The table at `at`, of which nothing was looked at; its length in *bytes. */
static wz_status_t check_table(const blob_t *blob, uint32_t at, uint32_t end, uint32_t *bytes)
{
    const table_t *table = table_at(blob, at);
    if (at + sizeof(uint32_t) * 3 > end)
        return WZ_BLOB_LENGTH;
    if (table->thresholds < 1 || table->thresholds > WZ_MAX_THRESHOLDS || table->layers < 1 || table->layers > WZ_MAX_LAYERS)
        return WZ_BLOB_FIELD;
    if ((uint32_t)table->coded >> table->layers != 0 || !alphabets_hold(table))
        return WZ_BLOB_FIELD;
    *bytes = table_bytes(table) + set_bytes(blob, table);
    if (at + *bytes > end)
        return WZ_BLOB_LENGTH;
    return intervals_hold(table) && cdfs_hold(table, blob->cdf_bits) && fill_is_zero(table) && sets_hold(blob, table) ? WZ_OK : WZ_BLOB_TABLE;
}

static int are_equal(const blob_t *blob, const table_t *a, const table_t *b)
{
    uint32_t bytes = table_bytes(a) + set_bytes(blob, a), differs = bytes != table_bytes(b) + set_bytes(blob, b);
    for (uint32_t i = 0; i < bytes && !differs; i++)
        differs = ((const uint8_t *)a)[i] != ((const uint8_t *)b)[i];
    return !differs;
}

/* Rate points name the tables in the order 0, 1, .. in which they first occur, all of them, and layers that those have. */
static int points_hold(const blob_t *blob)
{
    uint32_t seen = 0;
    for (uint32_t number = 0; number < blob->header.rate_points; number++) {
        const uint8_t *point = (const uint8_t *)blob + point_at(blob, number);
        if (point[0] > seen || point[0] >= blob->tables)
            return 0;
        seen += point[0] == seen;
        if (point[1] < 1 || point[1] > table_at(blob, find_table(blob, point[0]))->layers)
            return 0;
    }
    return seen == blob->tables;
}

static wz_status_t check(const void *blob, uint32_t end)
{
    const blob_t *section = (const blob_t *)blob;
    uint32_t at = find_table(section, 0), coded = 0, bytes = 0;
    if (at > end)
        return WZ_BLOB_LENGTH;
    if (section->tables < 1 || section->tables > WZ_MAX_RATE_POINTS || section->header.level_check_bits != 0)
        return WZ_BLOB_FIELD;
    if (section->cdf_bits > WZ_MAX_LAYERED_CDF_BITS || (section->cdf_bits != 0 && section->cdf_bits < WZ_MIN_LAYERED_CDF_BITS))
        return WZ_BLOB_FIELD;
    if (!blocks_hold(section) || !is_zero(blob, point_at(blob, section->header.rate_points), at))
        return WZ_BLOB_FIELD;
    for (uint32_t number = 0; number < section->tables; number++, at += bytes) {
        wz_status_t status = check_table(section, at, end, &bytes);
        if (status != WZ_OK)
            return status;
        coded |= table_at(blob, at)->coded;
        for (uint32_t other = 0; other < number; other++)
            if (are_equal(section, table_at(blob, at), table_at(blob, find_table(section, other))))
                return WZ_BLOB_TABLE;
    }
    if (!points_hold(section) || (coded != 0) != (section->cdf_bits != 0))
        return WZ_BLOB_FIELD;
    return at == end ? WZ_OK : WZ_BLOB_LENGTH;
}

const wz_scheme_t wz_layered = {
    WZ_SCHEME_LAYERED, check, point_at, need, begin, samples, absent, finish,
};

#endif
