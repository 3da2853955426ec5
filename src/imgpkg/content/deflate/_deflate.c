/* The fixed deflate encoder of reference.py, fast: the same bytes for the same input, on every machine.
 *
 * The rules are written down, with their reasons, in the reference; names here are the same. Input is cut into
 * blocks of 65535 bytes; a block and the one before it lie side by side in `window`, so that a match may begin
 * in the earlier one. The GIL is released while blocks are encoded. */

/* The build asks for the limited API of 3.10, so that one binary serves every later Python. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum {
    BLOCK = 65535,
    TABLE_BITS = 14,
    TABLE_SIZE = 1 << TABLE_BITS,
    REACH = 32768,
    MARGIN = 15,
    MAX_EXTENSION = 254,
    LITERALS = 286,
    DISTANCES = 30,
    CODES = 19,
    END_OF_BLOCK = 256,
    MAX_LENGTH = 15,
    MAX_CODE_LENGTH = 7,
    /* More than any block can become: 48 bits for each match of four bytes, 15 for each literal. */
    ROOM = 2 * BLOCK + 4096,
};

/* Positions are counted from here, so that zero can mean an empty slot. */
static const uint32_t FIRST_POSITION = 1u << 17;
static const uint32_t LAST_POSITION = 1u << 30;

static const uint16_t LENGTH_BASE[29] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
                                         31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
static const uint8_t LENGTH_EXTRA[29] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2,
                                         2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
static const uint16_t DISTANCE_BASE[30] = {1,   2,   3,   4,   5,   7,    9,    13,   17,   25,
                                           33,  49,  65,  97,  129, 193,  257,  385,  513,  769,
                                           1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577};
static const uint8_t DISTANCE_EXTRA[30] = {0, 0, 0, 0, 1, 1, 2, 2,  3,  3,  4,  4,  5,  5,  6,
                                           6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13};
static const uint8_t CODE_ORDER[CODES] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};

static uint8_t length_symbol[259];
static uint8_t distance_symbol[REACH + 1];

/* A token is a literal byte, or a match: its top bit set, length and distance below. */
#define MATCH 0x80000000u
#define MATCH_OF(length, distance) (MATCH | ((uint32_t)(length) << 16) | (uint32_t)(distance))
#define LENGTH_OF(token) (((token) >> 16) & 0x1ffu)
#define DISTANCE_OF(token) ((token) & 0xffffu)

typedef struct {
    uint32_t value;
    uint32_t position;
} Slot;

/* Where bits go: at most 31 of them wait in `bits` for the rest of their 32. */
typedef struct {
    uint64_t bits;
    unsigned count;
    uint8_t *next;
} Bits;

typedef struct {
    PyObject_HEAD
    Slot *table;
    uint8_t *window;
    uint32_t *tokens;
    uint8_t *out;
    size_t out_room;
    Bits bits;
    size_t filled;
    uint32_t base;
    int has_previous;
    int is_busy;
    int is_finished;
} Encoder;

/* ---- bits ---------------------------------------------------------------------------------------------- */

/* Write the low `count` bits of `value`, at most 32; the others are zero. */
static inline void put(Bits *b, uint32_t value, unsigned count)
{
    b->bits |= (uint64_t)value << b->count;
    b->count += count;
    if (b->count >= 32) {
        b->next[0] = (uint8_t)b->bits;
        b->next[1] = (uint8_t)(b->bits >> 8);
        b->next[2] = (uint8_t)(b->bits >> 16);
        b->next[3] = (uint8_t)(b->bits >> 24);
        b->next += 4;
        b->bits >>= 32;
        b->count -= 32;
    }
}

static void align(Bits *b)
{
    for (unsigned written = 0; written < b->count; written += 8) {
        *b->next++ = (uint8_t)(b->bits >> written);
    }
    b->bits = 0;
    b->count = 0;
}

static void put_stored(Bits *b, const uint8_t *data, uint32_t size)
{
    put(b, 0, 3);
    align(b);
    put(b, size | (size ^ 0xffffu) << 16, 32);
    memcpy(b->next, data, size);
    b->next += size;
}

static int make_room(Encoder *e)
{
    uint8_t *larger;
    size_t room = e->out_room ? e->out_room : 2 * (size_t)ROOM, size = (size_t)(e->bits.next - e->out);

    while (room - size < ROOM) {
        room *= 2;
    }
    if (room == e->out_room) {
        return 0;
    }
    larger = realloc(e->out, room);
    if (larger == NULL) {
        return -1;
    }
    e->out = larger;
    e->bits.next = larger + size;
    e->out_room = room;
    return 0;
}

/* ---- Huffman codes ------------------------------------------------------------------------------------- */

typedef struct {
    uint32_t weight;
    uint16_t symbol;
} Leaf;

static int by_weight(const void *left, const void *right)
{
    const Leaf *a = left, *b = right;

    if (a->weight != b->weight) {
        return a->weight < b->weight ? -1 : 1;
    }
    return (int)a->symbol - (int)b->symbol;
}

/* Package-merge; of equal weights the package comes before the leaf. */
static void code_lengths(const uint32_t *frequencies, int count, int limit, uint8_t *lengths)
{
    static const int NONE = -1;
    Leaf leaves[LITERALS];
    uint32_t weights[MAX_LENGTH][2 * LITERALS];
    uint8_t is_leaf[MAX_LENGTH][2 * LITERALS];
    int sizes[MAX_LENGTH];
    int used = 0, level, take, last = NONE;

    memset(lengths, 0, (size_t)count);
    for (int symbol = 0; symbol < count; symbol++) {
        if (frequencies[symbol] > 0) {
            leaves[used].weight = frequencies[symbol];
            leaves[used++].symbol = (uint16_t)symbol;
        }
    }
    if (used <= 2) {
        for (int at = 0; at < used; at++) {
            lengths[leaves[at].symbol] = 1;
        }
        return;
    }
    qsort(leaves, (size_t)used, sizeof(Leaf), by_weight);
    if (limit > used - 1) {
        limit = used - 1;
    }
    for (level = 0; level < limit; level++) {
        int packages = last == NONE ? 0 : sizes[last] / 2;
        int leaf = 0, package = 0, size = 0;

        while (leaf < used || package < packages) {
            uint32_t weight = package < packages
                                  ? weights[last][2 * package] + weights[last][2 * package + 1]
                                  : 0;
            int is_package = package < packages && (leaf >= used || weight <= leaves[leaf].weight);

            weights[level][size] = is_package ? weight : leaves[leaf].weight;
            is_leaf[level][size++] = !is_package;
            package += is_package;
            leaf += !is_package;
        }
        sizes[level] = size;
        last = level;
    }
    take = 2 * used - 2;
    for (level = limit - 1; level >= 0; level--) {
        int taken = 0;

        for (int at = 0; at < take; at++) {
            taken += is_leaf[level][at];
        }
        for (int at = 0; at < taken; at++) {
            lengths[leaves[at].symbol]++;
        }
        take = 2 * (take - taken);
    }
}

static void make_codes(const uint8_t *lengths, int count, uint16_t *codes)
{
    unsigned per_length[MAX_LENGTH + 1] = {0}, next[MAX_LENGTH + 1] = {0}, code = 0;

    for (int symbol = 0; symbol < count; symbol++) {
        per_length[lengths[symbol]]++;
    }
    per_length[0] = 0;
    for (int length = 1; length <= MAX_LENGTH; length++) {
        code = (code + per_length[length - 1]) << 1;
        next[length] = code;
    }
    for (int symbol = 0; symbol < count; symbol++) {
        unsigned value = lengths[symbol] ? next[lengths[symbol]]++ : 0, reversed = 0;

        for (int bit = 0; bit < lengths[symbol]; bit++) {
            reversed = (reversed << 1) | ((value >> bit) & 1u);
        }
        codes[symbol] = (uint16_t)reversed;
    }
}

/* Write the run-length form of `lengths` as pairs of symbol and extra bits; return how many. */
static int run_lengths(const uint8_t *lengths, int count, uint8_t (*runs)[2])
{
    int size = 0, at = 0;

    while (at < count) {
        uint8_t value = lengths[at];
        int run = 1;

        while (at + run < count && lengths[at + run] == value) {
            run++;
        }
        at += run;
        if (value > 0) {
            runs[size][0] = value;
            runs[size++][1] = 0;
            for (run--; run >= 3;) {
                int part = run < 6 ? run : 6;

                runs[size][0] = 16;
                runs[size++][1] = (uint8_t)(part - 3);
                run -= part;
            }
        } else {
            while (run >= 11) {
                int part = run < 138 ? run : 138;

                runs[size][0] = 18;
                runs[size++][1] = (uint8_t)(part - 11);
                run -= part;
            }
            if (run >= 3) {
                runs[size][0] = 17;
                runs[size++][1] = (uint8_t)(run - 3);
                run = 0;
            }
        }
        for (; run > 0; run--) {
            runs[size][0] = value;
            runs[size++][1] = 0;
        }
    }
    return size;
}

/* ---- blocks -------------------------------------------------------------------------------------------- */

typedef struct {
    uint32_t literal_counts[LITERALS], distance_counts[DISTANCES], code_counts[CODES];
    uint8_t literal_lengths[LITERALS], distance_lengths[DISTANCES], code_lengths[CODES];
    uint16_t literal_codes[LITERALS], distance_codes[DISTANCES], codes[CODES];
    uint8_t runs[LITERALS + DISTANCES][2];
    int literals, distances, run_count, code_count;
} Huffman;

static void count_symbols(Huffman *h, const uint8_t *data, size_t size, const uint32_t *tokens, size_t count)
{
    memset(h->literal_counts, 0, sizeof h->literal_counts);
    memset(h->distance_counts, 0, sizeof h->distance_counts);
    if (tokens == NULL) {
        for (size_t at = 0; at < size; at++) {
            h->literal_counts[data[at]]++;
        }
    }
    for (size_t at = 0; tokens != NULL && at < count; at++) {
        uint32_t token = tokens[at];

        if (token & MATCH) {
            h->literal_counts[257 + length_symbol[LENGTH_OF(token)]]++;
            h->distance_counts[distance_symbol[DISTANCE_OF(token)]]++;
        } else {
            h->literal_counts[token]++;
        }
    }
    h->literal_counts[END_OF_BLOCK] = 1;
    for (h->literals = LITERALS; h->literal_counts[h->literals - 1] == 0;) {
        h->literals--;
    }
    for (h->distances = DISTANCES; h->distances > 0 && h->distance_counts[h->distances - 1] == 0;) {
        h->distances--;
    }
    if (h->distances == 0) {
        h->distance_counts[0] = 1;
        h->distances = 1;
    }
}

/* Build the three codes; return the size of the block in bits as the encoder estimates it, which leaves out
 * the extra bits of lengths and distances. */
static uint64_t build_codes(Huffman *h)
{
    uint8_t joined[LITERALS + DISTANCES];
    uint64_t size;

    code_lengths(h->literal_counts, LITERALS, MAX_LENGTH, h->literal_lengths);
    code_lengths(h->distance_counts, DISTANCES, MAX_LENGTH, h->distance_lengths);
    memcpy(joined, h->literal_lengths, (size_t)h->literals);
    memcpy(joined + h->literals, h->distance_lengths, (size_t)h->distances);
    h->run_count = run_lengths(joined, h->literals + h->distances, h->runs);
    memset(h->code_counts, 0, sizeof h->code_counts);
    for (int at = 0; at < h->run_count; at++) {
        h->code_counts[h->runs[at][0]]++;
    }
    code_lengths(h->code_counts, CODES, MAX_CODE_LENGTH, h->code_lengths);
    for (h->code_count = CODES; h->code_count > 4 && h->code_lengths[CODE_ORDER[h->code_count - 1]] == 0;) {
        h->code_count--;
    }
    size = 3 + 5 + 5 + 4 + 3 * (uint64_t)h->code_count;
    size += 2 * (uint64_t)h->code_counts[16] + 3 * (uint64_t)h->code_counts[17];
    size += 7 * (uint64_t)h->code_counts[18];
    for (int symbol = 0; symbol < CODES; symbol++) {
        size += (uint64_t)h->code_counts[symbol] * h->code_lengths[symbol];
    }
    for (int symbol = 0; symbol < LITERALS; symbol++) {
        size += (uint64_t)h->literal_counts[symbol] * h->literal_lengths[symbol];
    }
    for (int symbol = 0; symbol < DISTANCES; symbol++) {
        size += (uint64_t)h->distance_counts[symbol] * h->distance_lengths[symbol];
    }
    make_codes(h->literal_lengths, LITERALS, h->literal_codes);
    make_codes(h->distance_lengths, DISTANCES, h->distance_codes);
    make_codes(h->code_lengths, CODES, h->codes);
    return size;
}

static void put_codes(Bits *b, const Huffman *h)
{
    put(b, 4, 3);
    put(b, (uint32_t)h->literals - 257, 5);
    put(b, (uint32_t)h->distances - 1, 5);
    put(b, (uint32_t)h->code_count - 4, 4);
    for (int at = 0; at < h->code_count; at++) {
        put(b, h->code_lengths[CODE_ORDER[at]], 3);
    }
    for (int at = 0; at < h->run_count; at++) {
        uint8_t symbol = h->runs[at][0];

        put(b, h->codes[symbol], h->code_lengths[symbol]);
        if (symbol >= 16) {
            put(b, h->runs[at][1], symbol == 16 ? 2 : symbol == 17 ? 3 : 7);
        }
    }
}

/* A word of a Huffman code and its length, for one look-up where there would be two. */
#define WORD(code, length) ((uint32_t)(length) << 16 | (code))

static inline void put_word(Bits *b, uint32_t word)
{
    put(b, word & 0xffffu, word >> 16);
}

/* Write a word and, above it, the extra bits that its symbol asks for. */
static inline void put_extended(Bits *b, uint32_t word, uint32_t extra, unsigned extra_count)
{
    unsigned length = word >> 16;

    put(b, (word & 0xffffu) | extra << length, length + extra_count);
}

static void put_tokens(Bits *to, const Huffman *h, const uint32_t *tokens, size_t count)
{
    uint32_t literals[LITERALS], distances[DISTANCES];
    /* A copy that nothing else points to can stay in registers. */
    Bits b = *to;

    for (size_t symbol = 0; symbol < LITERALS; symbol++) {
        literals[symbol] = WORD(h->literal_codes[symbol], h->literal_lengths[symbol]);
    }
    for (size_t symbol = 0; symbol < DISTANCES; symbol++) {
        distances[symbol] = WORD(h->distance_codes[symbol], h->distance_lengths[symbol]);
    }
    for (size_t at = 0; at < count; at++) {
        uint32_t token = tokens[at], length, distance, symbol;

        if (!(token & MATCH)) {
            put_word(&b, literals[token]);
            continue;
        }
        length = LENGTH_OF(token);
        symbol = length_symbol[length];
        put_extended(&b, literals[257 + symbol], length - LENGTH_BASE[symbol], LENGTH_EXTRA[symbol]);
        distance = DISTANCE_OF(token);
        symbol = distance_symbol[distance];
        put_extended(&b, distances[symbol], distance - DISTANCE_BASE[symbol], DISTANCE_EXTRA[symbol]);
    }
    *to = b;
}

static void put_bytes(Bits *to, const Huffman *h, const uint8_t *data, size_t size)
{
    Bits b = *to;

    for (size_t at = 0; at < size; at++) {
        put(&b, h->literal_codes[data[at]], h->literal_lengths[data[at]]);
    }
    *to = b;
}

/* Write a block with codes of its own; `tokens` is NULL when every byte is a literal. */
static void put_huffman(Bits *b, const uint8_t *data, size_t size, const uint32_t *tokens, size_t count)
{
    Huffman h;
    uint64_t bits;

    count_symbols(&h, data, size, tokens, count);
    bits = build_codes(&h);
    if ((size + 5) * 8 < bits + (bits >> 4)) {
        put_stored(b, data, (uint32_t)size);
        return;
    }
    put_codes(b, &h);
    if (tokens == NULL) {
        put_bytes(b, &h, data, size);
    } else {
        put_tokens(b, &h, tokens, count);
    }
    put(b, h.literal_codes[END_OF_BLOCK], h.literal_lengths[END_OF_BLOCK]);
}

/* ---- matches ------------------------------------------------------------------------------------------- */

static inline uint32_t load(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static inline uint32_t slot_of(uint32_t value)
{
    return (value * 0x1e35a7bdu) >> (32 - TABLE_BITS);
}

/* Return how many bytes are the same, at most `limit`; eight at a time while they are. */
static inline size_t common(const uint8_t *left, const uint8_t *right, size_t limit)
{
    size_t count = 0;

    while (count + 8 <= limit) {
        uint64_t one, other;

        memcpy(&one, left + count, 8);
        memcpy(&other, right + count, 8);
        if (one != other) {
#if defined(__GNUC__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
            return count + (size_t)__builtin_ctzll(one ^ other) / 8;
#else
            break;
#endif
        }
        count += 8;
    }
    while (count < limit && left[count] == right[count]) {
        count++;
    }
    return count;
}

/* Find the matches of the block at `data`, of at least 128 bytes; return the number of tokens. */
static size_t find_matches(Encoder *e, const uint8_t *data, size_t size)
{
    Slot *table = e->table;
    uint32_t *restrict tokens = e->tokens, base = e->base;
    size_t limit = size - MARGIN, emitted = 0, at = 0, count = 0;
    size_t earlier = e->has_previous ? BLOCK : 0;
    uint32_t value = load(data), slot = slot_of(value);

    for (;;) {
        size_t skip = 32, next = at;
        Slot candidate;

        for (;;) {
            size_t step = skip >> 5;
            uint32_t now;

            at = next;
            next = at + step;
            skip += step;
            if (next > limit) {
                goto end;
            }
            candidate = table[slot];
            table[slot].value = value;
            table[slot].position = base + (uint32_t)at;
            now = load(data + next);
            slot = slot_of(now);
            if (candidate.position != 0 && base + (uint32_t)at - candidate.position <= REACH
                && candidate.value == value) {
                break;
            }
            value = now;
        }
        while (emitted < at) {
            tokens[count++] = data[emitted++];
        }
        for (;;) {
            size_t distance = base + (uint32_t)at - candidate.position, most, length = 4;

            at += 4;
            most = size - at < MAX_EXTENSION ? size - at : MAX_EXTENSION;
            if (distance <= at + earlier) {
                size_t more = common(data + at, data + at - distance, most);

                length += more;
                at += more;
            }
            tokens[count++] = MATCH_OF(length, distance);
            emitted = at;
            if (at >= limit) {
                goto end;
            }
            value = load(data + at - 1);
            slot = slot_of(value);
            table[slot].value = value;
            table[slot].position = base + (uint32_t)at - 1;
            value = load(data + at);
            slot = slot_of(value);
            candidate = table[slot];
            table[slot].value = value;
            table[slot].position = base + (uint32_t)at;
            if (candidate.position == 0 || base + (uint32_t)at - candidate.position > REACH
                || candidate.value != value) {
                value = load(data + at + 1);
                slot = slot_of(value);
                at++;
                break;
            }
        }
    }
end:
    while (emitted < size) {
        tokens[count++] = data[emitted++];
    }
    return count;
}

/* Before positions run out of bits, count them from the start again; slots out of reach become empty. */
static void rebase(Encoder *e)
{
    uint32_t shift = e->base - FIRST_POSITION;

    for (size_t at = 0; at < TABLE_SIZE; at++) {
        uint32_t position = e->table[at].position;

        e->table[at].position = position > shift ? position - shift : 0;
    }
    e->base = FIRST_POSITION;
}

static void encode_block(Encoder *e)
{
    const uint8_t *data = e->window + BLOCK;
    size_t size = e->filled;

    if (size <= 16) {
        put_stored(&e->bits, data, (uint32_t)size);
    } else if (size < 128) {
        put_huffman(&e->bits, data, size, NULL, 0);
    } else {
        size_t count = find_matches(e, data, size);

        if (count > size - (size >> 4)) {
            put_huffman(&e->bits, data, size, NULL, 0);
        } else {
            put_huffman(&e->bits, data, size, e->tokens, count);
        }
    }
    memcpy(e->window, e->window + BLOCK, size);
    e->has_previous = 1;
    e->base += (uint32_t)size;
    if (e->base > LAST_POSITION) {
        rebase(e);
    }
    e->filled = 0;
}

static int encode(Encoder *e, const uint8_t *data, size_t size)
{
    while (size > 0) {
        size_t part = BLOCK - e->filled < size ? BLOCK - e->filled : size;

        memcpy(e->window + BLOCK + e->filled, data, part);
        e->filled += part;
        data += part;
        size -= part;
        if (e->filled == BLOCK) {
            if (make_room(e) < 0) {
                return -1;
            }
            encode_block(e);
        }
    }
    return 0;
}

static int finish(Encoder *e)
{
    if (make_room(e) < 0) {
        return -1;
    }
    if (e->filled > 0) {
        encode_block(e);
    }
    if (make_room(e) < 0) {
        return -1;
    }
    put(&e->bits, 1, 3);
    align(&e->bits);
    put(&e->bits, 0xffff0000u, 32);
    return 0;
}

/* ---- Python -------------------------------------------------------------------------------------------- */

static PyObject *taken(Encoder *e)
{
    size_t size = (size_t)(e->bits.next - e->out);
    PyObject *bytes = PyBytes_FromStringAndSize((const char *)e->out, (Py_ssize_t)size);

    if (bytes != NULL) {
        e->bits.next = e->out;
    }
    return bytes;
}

static int begin(Encoder *e)
{
    if (e->is_finished) {
        PyErr_SetString(PyExc_ValueError, "the encoder is finished");
        return -1;
    }
    if (e->is_busy) {
        PyErr_SetString(PyExc_RuntimeError, "the encoder is used by another thread");
        return -1;
    }
    e->is_busy = 1;
    return 0;
}

/* The limited API has the buffer protocol only since 3.11: what is not bytes is copied, which takes a hundredth of
 * the time of encoding it. */
static PyObject *bytes_of(PyObject *argument)
{
    PyObject *view, *whole, *bytes = NULL;

    if (PyBytes_Check(argument)) {
        Py_INCREF(argument);
        return argument;
    }
    view = PyMemoryView_FromObject(argument);
    if (view == NULL) {
        return NULL;
    }
    whole = PyObject_GetAttrString(view, "c_contiguous");
    if (whole == Py_False) {
        PyErr_SetString(PyExc_BufferError, "the bytes do not lie together");
    } else if (whole != NULL) {
        bytes = PyBytes_FromObject(view);
    }
    Py_XDECREF(whole);
    Py_DECREF(view);
    return bytes;
}

static PyObject *Encoder_compress(PyObject *self, PyObject *argument)
{
    Encoder *e = (Encoder *)self;
    PyObject *bytes = bytes_of(argument);
    const uint8_t *data;
    size_t size;
    int failed;

    if (bytes == NULL) {
        return NULL;
    }
    if (begin(e) < 0) {
        Py_DECREF(bytes);
        return NULL;
    }
    data = (const uint8_t *)PyBytes_AsString(bytes);
    size = (size_t)PyBytes_Size(bytes);
    Py_BEGIN_ALLOW_THREADS
    failed = encode(e, data, size);
    Py_END_ALLOW_THREADS
    e->is_busy = 0;
    Py_DECREF(bytes);
    if (failed) {
        e->is_finished = 1;
        return PyErr_NoMemory();
    }
    return taken(e);
}

static PyObject *Encoder_finish(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    Encoder *e = (Encoder *)self;
    int failed;

    if (begin(e) < 0) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    failed = finish(e);
    Py_END_ALLOW_THREADS
    e->is_busy = 0;
    e->is_finished = 1;
    return failed ? PyErr_NoMemory() : taken(e);
}

static PyObject *Encoder_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {NULL};
    Encoder *e;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, ":FastEncoder", names)) {
        return NULL;
    }
    e = (Encoder *)PyType_GenericAlloc(type, 0);
    if (e == NULL) {
        return NULL;
    }
    e->table = calloc(TABLE_SIZE, sizeof(Slot));
    e->window = malloc(2 * (size_t)BLOCK);
    e->tokens = malloc(BLOCK * sizeof(uint32_t));
    e->base = FIRST_POSITION;
    if (e->table == NULL || e->window == NULL || e->tokens == NULL) {
        Py_DECREF(e);
        return PyErr_NoMemory();
    }
    return (PyObject *)e;
}

static void Encoder_dealloc(PyObject *self)
{
    Encoder *e = (Encoder *)self;
    PyTypeObject *type = Py_TYPE(self);

    free(e->table);
    free(e->window);
    free(e->tokens);
    free(e->out);
    PyObject_Free(self);
    Py_DECREF(type);
}

static PyMethodDef Encoder_methods[] = {
    {"compress", Encoder_compress, METH_O, "Take bytes; return the compressed bytes that are ready."},
    {"finish", Encoder_finish, METH_NOARGS, "Return the rest of the compressed bytes; nothing may follow."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot Encoder_slots[] = {
    {Py_tp_doc, "Encodes one deflate stream, with the same output as the reference."},
    {Py_tp_new, Encoder_new},
    {Py_tp_dealloc, Encoder_dealloc},
    {Py_tp_methods, Encoder_methods},
    {0, NULL},
};

static PyType_Spec Encoder_spec = {
    .name = "imgpkg.content.deflate._deflate.FastEncoder",
    .basicsize = sizeof(Encoder),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = Encoder_slots,
};

static int module_exec(PyObject *module)
{
    PyObject *type;

    for (int symbol = 0, length = 3; length <= 258; length++) {
        while (symbol < 28 && LENGTH_BASE[symbol + 1] <= length) {
            symbol++;
        }
        length_symbol[length] = (uint8_t)symbol;
    }
    for (int symbol = 0, distance = 1; distance <= REACH; distance++) {
        while (symbol < 29 && DISTANCE_BASE[symbol + 1] <= distance) {
            symbol++;
        }
        distance_symbol[distance] = (uint8_t)symbol;
    }
    type = PyType_FromSpec(&Encoder_spec);
    if (type == NULL) {
        return -1;
    }
    if (PyModule_AddObject(module, "FastEncoder", type) < 0) {
        Py_DECREF(type);
        return -1;
    }
    return 0;
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
    {0, NULL},
};

static struct PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "imgpkg.content.deflate._deflate",
    .m_doc = "The fixed deflate encoder, fast.",
    .m_size = 0,
    .m_slots = module_slots,
};

PyMODINIT_FUNC PyInit__deflate(void)
{
    return PyModuleDef_Init(&module_definition);
}
