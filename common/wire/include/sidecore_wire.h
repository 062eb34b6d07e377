/*
 * The layouts of sidecore's protocol, for C99 and C++11. Made by `cargo xtask protocol --write`.
 *
 * All layouts are little endian and packed. For each there is its length, the offset of each field, a struct in the
 * processor's own order, and two functions: `parse` reads the bytes, `emit` writes them, at any alignment and on any
 * processor. What lies in shared memory is copied first and then parsed from the copy: the peer may change it meanwhile.
 */
#ifndef SIDECORE_WIRE_H
#define SIDECORE_WIRE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Fails to compile unless the condition holds. */
#define SIDECORE_ASSERT(name, condition) typedef char sidecore_assert_##name[(condition) ? 1 : -1]

/* any address, or one to be chosen */
#define SIDECORE_ADDR_ANY UINT32_C(0xffffffff)
/* where announcements are sent to */
#define SIDECORE_NAME_SERVICE_ADDR UINT32_C(0x35)
/* least address that is given out on demand */
#define SIDECORE_FIRST_DYNAMIC_ADDR UINT32_C(0x400)
/* bytes of a buffer, header included */
#define SIDECORE_DEFAULT_BUFFER_SIZE UINT32_C(0x200)
/* bytes of a service's name, the NUL included */
#define SIDECORE_NAME_SIZE UINT32_C(0x20)
/* flags of an announcement: the service came */
#define SIDECORE_NS_CREATE UINT32_C(0x0)
/* flags of an announcement: the service went */
#define SIDECORE_NS_DESTROY UINT32_C(0x1)
/* flag of a descriptor: the chain goes on */
#define SIDECORE_DESC_NEXT UINT32_C(0x1)
/* flag of a descriptor: the device may write the buffer */
#define SIDECORE_DESC_WRITE UINT32_C(0x2)
/* flag of a descriptor: the buffer is a table */
#define SIDECORE_DESC_INDIRECT UINT32_C(0x4)
/* the driver wants no notification */
#define SIDECORE_AVAIL_NO_INTERRUPT UINT32_C(0x1)
/* the device wants no notification */
#define SIDECORE_USED_NO_NOTIFY UINT32_C(0x1)
/* the driver has seen the device */
#define SIDECORE_STATUS_ACKNOWLEDGE UINT32_C(0x1)
/* the driver knows how to drive it */
#define SIDECORE_STATUS_DRIVER UINT32_C(0x2)
/* rings may be used */
#define SIDECORE_STATUS_DRIVER_OK UINT32_C(0x4)
/* features are chosen */
#define SIDECORE_STATUS_FEATURES_OK UINT32_C(0x8)
/* only a reset helps the device */
#define SIDECORE_STATUS_NEEDS_RESET UINT32_C(0x40)
/* the driver has given the device up */
#define SIDECORE_STATUS_FAILED UINT32_C(0x80)
/* version of the resource table */
#define SIDECORE_TABLE_VERSION UINT32_C(0x1)
/* type of a carveout entry */
#define SIDECORE_ENTRY_CARVEOUT UINT32_C(0x0)
/* type of a devmem entry */
#define SIDECORE_ENTRY_DEVMEM UINT32_C(0x1)
/* type of a trace entry */
#define SIDECORE_ENTRY_TRACE UINT32_C(0x2)
/* type of a vdev entry */
#define SIDECORE_ENTRY_VDEV UINT32_C(0x3)
/* least type of a vendor's entry */
#define SIDECORE_ENTRY_VENDOR_FIRST UINT32_C(0x80)
/* greatest type of a vendor's entry */
#define SIDECORE_ENTRY_VENDOR_LAST UINT32_C(0x200)
/* type of sidecore's own entries, a kind behind it */
#define SIDECORE_ENTRY_OWN UINT32_C(0x15c)
/* kind of an own entry: the words of a trace buffer */
#define SIDECORE_KIND_TRACE_WORDS UINT32_C(0x1)
/* flag of those: the remote rings as the word wake says */
#define SIDECORE_TRACE_WORDS_RINGS UINT32_C(0x1)
/* bytes of an entry's name */
#define SIDECORE_ENTRY_NAME_SIZE UINT32_C(0x20)
/* virtio id of an rpmsg device */
#define SIDECORE_ID_RPMSG UINT32_C(0x7)
/* version of the rpmsg configuration */
#define SIDECORE_RPMSG_CONFIG_VERSION UINT32_C(0x1)
/* magic of the sandbox's page */
#define SIDECORE_SANDBOX_MAGIC UINT32_C(0x53434250)
/* version of the sandbox's page */
#define SIDECORE_SANDBOX_VERSION UINT32_C(0x1)

/* Feature bits. */
/* channels are announced by the name service */
#define SIDECORE_F_NS (UINT64_C(1) << 0)
/* the configuration space gives the sizes of the buffers */
#define SIDECORE_F_BUFSZ (UINT64_C(1) << 1)
/* the configuration space ends with two words by which a reset is acknowledged */
#define SIDECORE_F_EPOCH (UINT64_C(1) << 16)
/* descriptors may point at tables of descriptors */
#define SIDECORE_INDIRECT_DESC (UINT64_C(1) << 28)
/* each side says at which index it wants to be notified */
#define SIDECORE_EVENT_IDX (UINT64_C(1) << 29)
/* the device follows virtio 1.0 or later */
#define SIDECORE_VERSION_1 (UINT64_C(1) << 32)
/* the platform translates or restricts addresses on the ring */
#define SIDECORE_ACCESS_PLATFORM (UINT64_C(1) << 33)
/* the rings are packed */
#define SIDECORE_RING_PACKED (UINT64_C(1) << 34)
/* buffers are used in the order in which they were made available */
#define SIDECORE_IN_ORDER (UINT64_C(1) << 35)
/* memory accesses are ordered as the platform orders those of its devices */
#define SIDECORE_ORDER_PLATFORM (UINT64_C(1) << 36)
/* notifications carry the ring's number and position */
#define SIDECORE_NOTIFICATION_DATA (UINT64_C(1) << 38)
/* one ring may be reset alone */
#define SIDECORE_RING_RESET (UINT64_C(1) << 40)

static inline void sidecore_copy(uint8_t *to, const uint8_t *from, size_t count)
{
    size_t i;
    for (i = 0; i < count; i++) {
        to[i] = from[i];
    }
}

static inline uint8_t sidecore_get_u8(const uint8_t *from)
{
    return from[0];
}

static inline uint16_t sidecore_get_u16(const uint8_t *from)
{
    return (uint16_t)(from[0] | from[1] << 8);
}

static inline uint32_t sidecore_get_u32(const uint8_t *from)
{
    return sidecore_get_u16(from) | (uint32_t)sidecore_get_u16(from + 2) << 16;
}

static inline uint64_t sidecore_get_u64(const uint8_t *from)
{
    return sidecore_get_u32(from) | (uint64_t)sidecore_get_u32(from + 4) << 32;
}

static inline void sidecore_put_u8(uint8_t *to, uint8_t value)
{
    to[0] = value;
}

static inline void sidecore_put_u16(uint8_t *to, uint16_t value)
{
    to[0] = (uint8_t)(value & 0xff);
    to[1] = (uint8_t)(value >> 8);
}

static inline void sidecore_put_u32(uint8_t *to, uint32_t value)
{
    sidecore_put_u16(to, (uint16_t)(value & 0xffff));
    sidecore_put_u16(to + 2, (uint16_t)(value >> 16));
}

static inline void sidecore_put_u64(uint8_t *to, uint64_t value)
{
    sidecore_put_u32(to, (uint32_t)(value & 0xffffffff));
    sidecore_put_u32(to + 4, (uint32_t)(value >> 32));
}

/*
 * A split ring of `num` descriptors: where its parts begin, in bytes from its own beginning. The descriptors are at 0.
 * `num` is a power of two from 1 to 32768, `align` one from 4 on.
 */

/* The available part: flags, index 2 bytes behind, slots 4 bytes behind. */
static inline uint32_t sidecore_ring_available(uint32_t num)
{
    return 16 * num;
}

/* Where the driver says at which used index it wants a notification. */
static inline uint32_t sidecore_ring_used_event(uint32_t num)
{
    return sidecore_ring_available(num) + 4 + 2 * num;
}

/* The used part: flags, index 2 bytes behind, slots 4 bytes behind. */
static inline uint32_t sidecore_ring_used(uint32_t num, uint32_t align)
{
    return (sidecore_ring_used_event(num) + 2 + (align - 1)) & ~(align - 1);
}

/* Where the device says at which available index it wants a notification. */
static inline uint32_t sidecore_ring_available_event(uint32_t num, uint32_t align)
{
    return sidecore_ring_used(num, align) + 4 + 8 * num;
}

/* Bytes of the whole ring. */
static inline uint32_t sidecore_ring_size(uint32_t num, uint32_t align)
{
    return sidecore_ring_available_event(num, align) + 2;
}

/* Whether an index that moved from `before` to `now` passed `event`, so that a notification is wanted. */
static inline int sidecore_need_event(uint16_t event, uint16_t now, uint16_t before)
{
    return (uint16_t)(now - event - 1) < (uint16_t)(now - before);
}

/* The header of a message. */
#define SIDECORE_RPMSG_HEADER_SIZE 16
#define SIDECORE_RPMSG_HEADER_SRC_AT 0
#define SIDECORE_RPMSG_HEADER_DST_AT 4
#define SIDECORE_RPMSG_HEADER_RESERVED_AT 8
#define SIDECORE_RPMSG_HEADER_LEN_AT 12
#define SIDECORE_RPMSG_HEADER_FLAGS_AT 14

/* As it lies in memory, on a little endian processor. */
struct sidecore_rpmsg_header {
    uint32_t src;
    uint32_t dst;
    uint32_t reserved;
    uint16_t len;
    uint16_t flags;
};

SIDECORE_ASSERT(rpmsg_header_src_follows, SIDECORE_RPMSG_HEADER_SRC_AT == 0);
SIDECORE_ASSERT(rpmsg_header_src_overlays, offsetof(struct sidecore_rpmsg_header, src) == SIDECORE_RPMSG_HEADER_SRC_AT);
SIDECORE_ASSERT(rpmsg_header_dst_follows, SIDECORE_RPMSG_HEADER_DST_AT == SIDECORE_RPMSG_HEADER_SRC_AT + 4);
SIDECORE_ASSERT(rpmsg_header_dst_overlays, offsetof(struct sidecore_rpmsg_header, dst) == SIDECORE_RPMSG_HEADER_DST_AT);
SIDECORE_ASSERT(rpmsg_header_reserved_follows, SIDECORE_RPMSG_HEADER_RESERVED_AT == SIDECORE_RPMSG_HEADER_DST_AT + 4);
SIDECORE_ASSERT(rpmsg_header_reserved_overlays, offsetof(struct sidecore_rpmsg_header, reserved) == SIDECORE_RPMSG_HEADER_RESERVED_AT);
SIDECORE_ASSERT(rpmsg_header_len_follows, SIDECORE_RPMSG_HEADER_LEN_AT == SIDECORE_RPMSG_HEADER_RESERVED_AT + 4);
SIDECORE_ASSERT(rpmsg_header_len_overlays, offsetof(struct sidecore_rpmsg_header, len) == SIDECORE_RPMSG_HEADER_LEN_AT);
SIDECORE_ASSERT(rpmsg_header_flags_follows, SIDECORE_RPMSG_HEADER_FLAGS_AT == SIDECORE_RPMSG_HEADER_LEN_AT + 2);
SIDECORE_ASSERT(rpmsg_header_flags_overlays, offsetof(struct sidecore_rpmsg_header, flags) == SIDECORE_RPMSG_HEADER_FLAGS_AT);
SIDECORE_ASSERT(rpmsg_header_ends, SIDECORE_RPMSG_HEADER_SIZE == SIDECORE_RPMSG_HEADER_FLAGS_AT + 2);
SIDECORE_ASSERT(rpmsg_header_is_as_long, sizeof(struct sidecore_rpmsg_header) == 16);

static inline void sidecore_rpmsg_header_parse(struct sidecore_rpmsg_header *to, const uint8_t *from)
{
    to->src = sidecore_get_u32(from + SIDECORE_RPMSG_HEADER_SRC_AT);
    to->dst = sidecore_get_u32(from + SIDECORE_RPMSG_HEADER_DST_AT);
    to->reserved = sidecore_get_u32(from + SIDECORE_RPMSG_HEADER_RESERVED_AT);
    to->len = sidecore_get_u16(from + SIDECORE_RPMSG_HEADER_LEN_AT);
    to->flags = sidecore_get_u16(from + SIDECORE_RPMSG_HEADER_FLAGS_AT);
}

static inline void sidecore_rpmsg_header_emit(const struct sidecore_rpmsg_header *from, uint8_t *to)
{
    sidecore_put_u32(to + SIDECORE_RPMSG_HEADER_SRC_AT, from->src);
    sidecore_put_u32(to + SIDECORE_RPMSG_HEADER_DST_AT, from->dst);
    sidecore_put_u32(to + SIDECORE_RPMSG_HEADER_RESERVED_AT, from->reserved);
    sidecore_put_u16(to + SIDECORE_RPMSG_HEADER_LEN_AT, from->len);
    sidecore_put_u16(to + SIDECORE_RPMSG_HEADER_FLAGS_AT, from->flags);
}

/* The payload of a message to the name service. */
#define SIDECORE_ANNOUNCEMENT_SIZE 40
#define SIDECORE_ANNOUNCEMENT_NAME_AT 0
#define SIDECORE_ANNOUNCEMENT_ADDR_AT 32
#define SIDECORE_ANNOUNCEMENT_FLAGS_AT 36

/* As it lies in memory, on a little endian processor. */
struct sidecore_announcement {
    uint8_t name[32];
    uint32_t addr;
    uint32_t flags;
};

SIDECORE_ASSERT(announcement_name_follows, SIDECORE_ANNOUNCEMENT_NAME_AT == 0);
SIDECORE_ASSERT(announcement_name_overlays, offsetof(struct sidecore_announcement, name) == SIDECORE_ANNOUNCEMENT_NAME_AT);
SIDECORE_ASSERT(announcement_addr_follows, SIDECORE_ANNOUNCEMENT_ADDR_AT == SIDECORE_ANNOUNCEMENT_NAME_AT + 32);
SIDECORE_ASSERT(announcement_addr_overlays, offsetof(struct sidecore_announcement, addr) == SIDECORE_ANNOUNCEMENT_ADDR_AT);
SIDECORE_ASSERT(announcement_flags_follows, SIDECORE_ANNOUNCEMENT_FLAGS_AT == SIDECORE_ANNOUNCEMENT_ADDR_AT + 4);
SIDECORE_ASSERT(announcement_flags_overlays, offsetof(struct sidecore_announcement, flags) == SIDECORE_ANNOUNCEMENT_FLAGS_AT);
SIDECORE_ASSERT(announcement_ends, SIDECORE_ANNOUNCEMENT_SIZE == SIDECORE_ANNOUNCEMENT_FLAGS_AT + 4);
SIDECORE_ASSERT(announcement_is_as_long, sizeof(struct sidecore_announcement) == 40);

static inline void sidecore_announcement_parse(struct sidecore_announcement *to, const uint8_t *from)
{
    sidecore_copy(to->name, from + SIDECORE_ANNOUNCEMENT_NAME_AT, 32);
    to->addr = sidecore_get_u32(from + SIDECORE_ANNOUNCEMENT_ADDR_AT);
    to->flags = sidecore_get_u32(from + SIDECORE_ANNOUNCEMENT_FLAGS_AT);
}

static inline void sidecore_announcement_emit(const struct sidecore_announcement *from, uint8_t *to)
{
    sidecore_copy(to + SIDECORE_ANNOUNCEMENT_NAME_AT, from->name, 32);
    sidecore_put_u32(to + SIDECORE_ANNOUNCEMENT_ADDR_AT, from->addr);
    sidecore_put_u32(to + SIDECORE_ANNOUNCEMENT_FLAGS_AT, from->flags);
}

/* A descriptor of a ring. */
#define SIDECORE_DESCRIPTOR_SIZE 16
#define SIDECORE_DESCRIPTOR_ADDR_AT 0
#define SIDECORE_DESCRIPTOR_LEN_AT 8
#define SIDECORE_DESCRIPTOR_FLAGS_AT 12
#define SIDECORE_DESCRIPTOR_NEXT_AT 14

/* As it lies in memory, on a little endian processor. */
struct sidecore_descriptor {
    uint64_t addr;
    uint32_t len;
    uint16_t flags;
    uint16_t next;
};

SIDECORE_ASSERT(descriptor_addr_follows, SIDECORE_DESCRIPTOR_ADDR_AT == 0);
SIDECORE_ASSERT(descriptor_addr_overlays, offsetof(struct sidecore_descriptor, addr) == SIDECORE_DESCRIPTOR_ADDR_AT);
SIDECORE_ASSERT(descriptor_len_follows, SIDECORE_DESCRIPTOR_LEN_AT == SIDECORE_DESCRIPTOR_ADDR_AT + 8);
SIDECORE_ASSERT(descriptor_len_overlays, offsetof(struct sidecore_descriptor, len) == SIDECORE_DESCRIPTOR_LEN_AT);
SIDECORE_ASSERT(descriptor_flags_follows, SIDECORE_DESCRIPTOR_FLAGS_AT == SIDECORE_DESCRIPTOR_LEN_AT + 4);
SIDECORE_ASSERT(descriptor_flags_overlays, offsetof(struct sidecore_descriptor, flags) == SIDECORE_DESCRIPTOR_FLAGS_AT);
SIDECORE_ASSERT(descriptor_next_follows, SIDECORE_DESCRIPTOR_NEXT_AT == SIDECORE_DESCRIPTOR_FLAGS_AT + 2);
SIDECORE_ASSERT(descriptor_next_overlays, offsetof(struct sidecore_descriptor, next) == SIDECORE_DESCRIPTOR_NEXT_AT);
SIDECORE_ASSERT(descriptor_ends, SIDECORE_DESCRIPTOR_SIZE == SIDECORE_DESCRIPTOR_NEXT_AT + 2);
SIDECORE_ASSERT(descriptor_is_as_long, sizeof(struct sidecore_descriptor) == 16);

static inline void sidecore_descriptor_parse(struct sidecore_descriptor *to, const uint8_t *from)
{
    to->addr = sidecore_get_u64(from + SIDECORE_DESCRIPTOR_ADDR_AT);
    to->len = sidecore_get_u32(from + SIDECORE_DESCRIPTOR_LEN_AT);
    to->flags = sidecore_get_u16(from + SIDECORE_DESCRIPTOR_FLAGS_AT);
    to->next = sidecore_get_u16(from + SIDECORE_DESCRIPTOR_NEXT_AT);
}

static inline void sidecore_descriptor_emit(const struct sidecore_descriptor *from, uint8_t *to)
{
    sidecore_put_u64(to + SIDECORE_DESCRIPTOR_ADDR_AT, from->addr);
    sidecore_put_u32(to + SIDECORE_DESCRIPTOR_LEN_AT, from->len);
    sidecore_put_u16(to + SIDECORE_DESCRIPTOR_FLAGS_AT, from->flags);
    sidecore_put_u16(to + SIDECORE_DESCRIPTOR_NEXT_AT, from->next);
}

/* A slot of a used ring. */
#define SIDECORE_USED_ELEMENT_SIZE 8
#define SIDECORE_USED_ELEMENT_ID_AT 0
#define SIDECORE_USED_ELEMENT_LEN_AT 4

/* As it lies in memory, on a little endian processor. */
struct sidecore_used_element {
    uint32_t id;
    uint32_t len;
};

SIDECORE_ASSERT(used_element_id_follows, SIDECORE_USED_ELEMENT_ID_AT == 0);
SIDECORE_ASSERT(used_element_id_overlays, offsetof(struct sidecore_used_element, id) == SIDECORE_USED_ELEMENT_ID_AT);
SIDECORE_ASSERT(used_element_len_follows, SIDECORE_USED_ELEMENT_LEN_AT == SIDECORE_USED_ELEMENT_ID_AT + 4);
SIDECORE_ASSERT(used_element_len_overlays, offsetof(struct sidecore_used_element, len) == SIDECORE_USED_ELEMENT_LEN_AT);
SIDECORE_ASSERT(used_element_ends, SIDECORE_USED_ELEMENT_SIZE == SIDECORE_USED_ELEMENT_LEN_AT + 4);
SIDECORE_ASSERT(used_element_is_as_long, sizeof(struct sidecore_used_element) == 8);

static inline void sidecore_used_element_parse(struct sidecore_used_element *to, const uint8_t *from)
{
    to->id = sidecore_get_u32(from + SIDECORE_USED_ELEMENT_ID_AT);
    to->len = sidecore_get_u32(from + SIDECORE_USED_ELEMENT_LEN_AT);
}

static inline void sidecore_used_element_emit(const struct sidecore_used_element *from, uint8_t *to)
{
    sidecore_put_u32(to + SIDECORE_USED_ELEMENT_ID_AT, from->id);
    sidecore_put_u32(to + SIDECORE_USED_ELEMENT_LEN_AT, from->len);
}

/* What a resource table begins with; the offsets of the entries follow. */
#define SIDECORE_TABLE_HEADER_SIZE 16
#define SIDECORE_TABLE_HEADER_VERSION_AT 0
#define SIDECORE_TABLE_HEADER_COUNT_AT 4
#define SIDECORE_TABLE_HEADER_RESERVED_0_AT 8
#define SIDECORE_TABLE_HEADER_RESERVED_1_AT 12

/* As it lies in memory, on a little endian processor. */
struct sidecore_table_header {
    uint32_t version;
    uint32_t count;
    uint32_t reserved_0;
    uint32_t reserved_1;
};

SIDECORE_ASSERT(table_header_version_follows, SIDECORE_TABLE_HEADER_VERSION_AT == 0);
SIDECORE_ASSERT(table_header_version_overlays, offsetof(struct sidecore_table_header, version) == SIDECORE_TABLE_HEADER_VERSION_AT);
SIDECORE_ASSERT(table_header_count_follows, SIDECORE_TABLE_HEADER_COUNT_AT == SIDECORE_TABLE_HEADER_VERSION_AT + 4);
SIDECORE_ASSERT(table_header_count_overlays, offsetof(struct sidecore_table_header, count) == SIDECORE_TABLE_HEADER_COUNT_AT);
SIDECORE_ASSERT(table_header_reserved_0_follows, SIDECORE_TABLE_HEADER_RESERVED_0_AT == SIDECORE_TABLE_HEADER_COUNT_AT + 4);
SIDECORE_ASSERT(table_header_reserved_0_overlays, offsetof(struct sidecore_table_header, reserved_0) == SIDECORE_TABLE_HEADER_RESERVED_0_AT);
SIDECORE_ASSERT(table_header_reserved_1_follows, SIDECORE_TABLE_HEADER_RESERVED_1_AT == SIDECORE_TABLE_HEADER_RESERVED_0_AT + 4);
SIDECORE_ASSERT(table_header_reserved_1_overlays, offsetof(struct sidecore_table_header, reserved_1) == SIDECORE_TABLE_HEADER_RESERVED_1_AT);
SIDECORE_ASSERT(table_header_ends, SIDECORE_TABLE_HEADER_SIZE == SIDECORE_TABLE_HEADER_RESERVED_1_AT + 4);
SIDECORE_ASSERT(table_header_is_as_long, sizeof(struct sidecore_table_header) == 16);

static inline void sidecore_table_header_parse(struct sidecore_table_header *to, const uint8_t *from)
{
    to->version = sidecore_get_u32(from + SIDECORE_TABLE_HEADER_VERSION_AT);
    to->count = sidecore_get_u32(from + SIDECORE_TABLE_HEADER_COUNT_AT);
    to->reserved_0 = sidecore_get_u32(from + SIDECORE_TABLE_HEADER_RESERVED_0_AT);
    to->reserved_1 = sidecore_get_u32(from + SIDECORE_TABLE_HEADER_RESERVED_1_AT);
}

static inline void sidecore_table_header_emit(const struct sidecore_table_header *from, uint8_t *to)
{
    sidecore_put_u32(to + SIDECORE_TABLE_HEADER_VERSION_AT, from->version);
    sidecore_put_u32(to + SIDECORE_TABLE_HEADER_COUNT_AT, from->count);
    sidecore_put_u32(to + SIDECORE_TABLE_HEADER_RESERVED_0_AT, from->reserved_0);
    sidecore_put_u32(to + SIDECORE_TABLE_HEADER_RESERVED_1_AT, from->reserved_1);
}

/* An entry of a resource table: memory that must be there. */
#define SIDECORE_CARVEOUT_SIZE 56
#define SIDECORE_CARVEOUT_TYPE_AT 0
#define SIDECORE_CARVEOUT_DA_AT 4
#define SIDECORE_CARVEOUT_PA_AT 8
#define SIDECORE_CARVEOUT_LEN_AT 12
#define SIDECORE_CARVEOUT_FLAGS_AT 16
#define SIDECORE_CARVEOUT_RESERVED_AT 20
#define SIDECORE_CARVEOUT_NAME_AT 24

/* As it lies in memory, on a little endian processor. */
struct sidecore_carveout {
    uint32_t type;
    uint32_t da;
    uint32_t pa;
    uint32_t len;
    uint32_t flags;
    uint32_t reserved;
    uint8_t name[32];
};

SIDECORE_ASSERT(carveout_type_follows, SIDECORE_CARVEOUT_TYPE_AT == 0);
SIDECORE_ASSERT(carveout_type_overlays, offsetof(struct sidecore_carveout, type) == SIDECORE_CARVEOUT_TYPE_AT);
SIDECORE_ASSERT(carveout_da_follows, SIDECORE_CARVEOUT_DA_AT == SIDECORE_CARVEOUT_TYPE_AT + 4);
SIDECORE_ASSERT(carveout_da_overlays, offsetof(struct sidecore_carveout, da) == SIDECORE_CARVEOUT_DA_AT);
SIDECORE_ASSERT(carveout_pa_follows, SIDECORE_CARVEOUT_PA_AT == SIDECORE_CARVEOUT_DA_AT + 4);
SIDECORE_ASSERT(carveout_pa_overlays, offsetof(struct sidecore_carveout, pa) == SIDECORE_CARVEOUT_PA_AT);
SIDECORE_ASSERT(carveout_len_follows, SIDECORE_CARVEOUT_LEN_AT == SIDECORE_CARVEOUT_PA_AT + 4);
SIDECORE_ASSERT(carveout_len_overlays, offsetof(struct sidecore_carveout, len) == SIDECORE_CARVEOUT_LEN_AT);
SIDECORE_ASSERT(carveout_flags_follows, SIDECORE_CARVEOUT_FLAGS_AT == SIDECORE_CARVEOUT_LEN_AT + 4);
SIDECORE_ASSERT(carveout_flags_overlays, offsetof(struct sidecore_carveout, flags) == SIDECORE_CARVEOUT_FLAGS_AT);
SIDECORE_ASSERT(carveout_reserved_follows, SIDECORE_CARVEOUT_RESERVED_AT == SIDECORE_CARVEOUT_FLAGS_AT + 4);
SIDECORE_ASSERT(carveout_reserved_overlays, offsetof(struct sidecore_carveout, reserved) == SIDECORE_CARVEOUT_RESERVED_AT);
SIDECORE_ASSERT(carveout_name_follows, SIDECORE_CARVEOUT_NAME_AT == SIDECORE_CARVEOUT_RESERVED_AT + 4);
SIDECORE_ASSERT(carveout_name_overlays, offsetof(struct sidecore_carveout, name) == SIDECORE_CARVEOUT_NAME_AT);
SIDECORE_ASSERT(carveout_ends, SIDECORE_CARVEOUT_SIZE == SIDECORE_CARVEOUT_NAME_AT + 32);
SIDECORE_ASSERT(carveout_is_as_long, sizeof(struct sidecore_carveout) == 56);

static inline void sidecore_carveout_parse(struct sidecore_carveout *to, const uint8_t *from)
{
    to->type = sidecore_get_u32(from + SIDECORE_CARVEOUT_TYPE_AT);
    to->da = sidecore_get_u32(from + SIDECORE_CARVEOUT_DA_AT);
    to->pa = sidecore_get_u32(from + SIDECORE_CARVEOUT_PA_AT);
    to->len = sidecore_get_u32(from + SIDECORE_CARVEOUT_LEN_AT);
    to->flags = sidecore_get_u32(from + SIDECORE_CARVEOUT_FLAGS_AT);
    to->reserved = sidecore_get_u32(from + SIDECORE_CARVEOUT_RESERVED_AT);
    sidecore_copy(to->name, from + SIDECORE_CARVEOUT_NAME_AT, 32);
}

static inline void sidecore_carveout_emit(const struct sidecore_carveout *from, uint8_t *to)
{
    sidecore_put_u32(to + SIDECORE_CARVEOUT_TYPE_AT, from->type);
    sidecore_put_u32(to + SIDECORE_CARVEOUT_DA_AT, from->da);
    sidecore_put_u32(to + SIDECORE_CARVEOUT_PA_AT, from->pa);
    sidecore_put_u32(to + SIDECORE_CARVEOUT_LEN_AT, from->len);
    sidecore_put_u32(to + SIDECORE_CARVEOUT_FLAGS_AT, from->flags);
    sidecore_put_u32(to + SIDECORE_CARVEOUT_RESERVED_AT, from->reserved);
    sidecore_copy(to + SIDECORE_CARVEOUT_NAME_AT, from->name, 32);
}

/* An entry of a resource table: registers or memory of the machine. */
#define SIDECORE_DEVMEM_SIZE 56
#define SIDECORE_DEVMEM_TYPE_AT 0
#define SIDECORE_DEVMEM_DA_AT 4
#define SIDECORE_DEVMEM_PA_AT 8
#define SIDECORE_DEVMEM_LEN_AT 12
#define SIDECORE_DEVMEM_FLAGS_AT 16
#define SIDECORE_DEVMEM_RESERVED_AT 20
#define SIDECORE_DEVMEM_NAME_AT 24

/* As it lies in memory, on a little endian processor. */
struct sidecore_devmem {
    uint32_t type;
    uint32_t da;
    uint32_t pa;
    uint32_t len;
    uint32_t flags;
    uint32_t reserved;
    uint8_t name[32];
};

SIDECORE_ASSERT(devmem_type_follows, SIDECORE_DEVMEM_TYPE_AT == 0);
SIDECORE_ASSERT(devmem_type_overlays, offsetof(struct sidecore_devmem, type) == SIDECORE_DEVMEM_TYPE_AT);
SIDECORE_ASSERT(devmem_da_follows, SIDECORE_DEVMEM_DA_AT == SIDECORE_DEVMEM_TYPE_AT + 4);
SIDECORE_ASSERT(devmem_da_overlays, offsetof(struct sidecore_devmem, da) == SIDECORE_DEVMEM_DA_AT);
SIDECORE_ASSERT(devmem_pa_follows, SIDECORE_DEVMEM_PA_AT == SIDECORE_DEVMEM_DA_AT + 4);
SIDECORE_ASSERT(devmem_pa_overlays, offsetof(struct sidecore_devmem, pa) == SIDECORE_DEVMEM_PA_AT);
SIDECORE_ASSERT(devmem_len_follows, SIDECORE_DEVMEM_LEN_AT == SIDECORE_DEVMEM_PA_AT + 4);
SIDECORE_ASSERT(devmem_len_overlays, offsetof(struct sidecore_devmem, len) == SIDECORE_DEVMEM_LEN_AT);
SIDECORE_ASSERT(devmem_flags_follows, SIDECORE_DEVMEM_FLAGS_AT == SIDECORE_DEVMEM_LEN_AT + 4);
SIDECORE_ASSERT(devmem_flags_overlays, offsetof(struct sidecore_devmem, flags) == SIDECORE_DEVMEM_FLAGS_AT);
SIDECORE_ASSERT(devmem_reserved_follows, SIDECORE_DEVMEM_RESERVED_AT == SIDECORE_DEVMEM_FLAGS_AT + 4);
SIDECORE_ASSERT(devmem_reserved_overlays, offsetof(struct sidecore_devmem, reserved) == SIDECORE_DEVMEM_RESERVED_AT);
SIDECORE_ASSERT(devmem_name_follows, SIDECORE_DEVMEM_NAME_AT == SIDECORE_DEVMEM_RESERVED_AT + 4);
SIDECORE_ASSERT(devmem_name_overlays, offsetof(struct sidecore_devmem, name) == SIDECORE_DEVMEM_NAME_AT);
SIDECORE_ASSERT(devmem_ends, SIDECORE_DEVMEM_SIZE == SIDECORE_DEVMEM_NAME_AT + 32);
SIDECORE_ASSERT(devmem_is_as_long, sizeof(struct sidecore_devmem) == 56);

static inline void sidecore_devmem_parse(struct sidecore_devmem *to, const uint8_t *from)
{
    to->type = sidecore_get_u32(from + SIDECORE_DEVMEM_TYPE_AT);
    to->da = sidecore_get_u32(from + SIDECORE_DEVMEM_DA_AT);
    to->pa = sidecore_get_u32(from + SIDECORE_DEVMEM_PA_AT);
    to->len = sidecore_get_u32(from + SIDECORE_DEVMEM_LEN_AT);
    to->flags = sidecore_get_u32(from + SIDECORE_DEVMEM_FLAGS_AT);
    to->reserved = sidecore_get_u32(from + SIDECORE_DEVMEM_RESERVED_AT);
    sidecore_copy(to->name, from + SIDECORE_DEVMEM_NAME_AT, 32);
}

static inline void sidecore_devmem_emit(const struct sidecore_devmem *from, uint8_t *to)
{
    sidecore_put_u32(to + SIDECORE_DEVMEM_TYPE_AT, from->type);
    sidecore_put_u32(to + SIDECORE_DEVMEM_DA_AT, from->da);
    sidecore_put_u32(to + SIDECORE_DEVMEM_PA_AT, from->pa);
    sidecore_put_u32(to + SIDECORE_DEVMEM_LEN_AT, from->len);
    sidecore_put_u32(to + SIDECORE_DEVMEM_FLAGS_AT, from->flags);
    sidecore_put_u32(to + SIDECORE_DEVMEM_RESERVED_AT, from->reserved);
    sidecore_copy(to + SIDECORE_DEVMEM_NAME_AT, from->name, 32);
}

/* An entry of a resource table: a buffer of text. */
#define SIDECORE_TRACE_SIZE 48
#define SIDECORE_TRACE_TYPE_AT 0
#define SIDECORE_TRACE_DA_AT 4
#define SIDECORE_TRACE_LEN_AT 8
#define SIDECORE_TRACE_RESERVED_AT 12
#define SIDECORE_TRACE_NAME_AT 16

/* As it lies in memory, on a little endian processor. */
struct sidecore_trace {
    uint32_t type;
    uint32_t da;
    uint32_t len;
    uint32_t reserved;
    uint8_t name[32];
};

SIDECORE_ASSERT(trace_type_follows, SIDECORE_TRACE_TYPE_AT == 0);
SIDECORE_ASSERT(trace_type_overlays, offsetof(struct sidecore_trace, type) == SIDECORE_TRACE_TYPE_AT);
SIDECORE_ASSERT(trace_da_follows, SIDECORE_TRACE_DA_AT == SIDECORE_TRACE_TYPE_AT + 4);
SIDECORE_ASSERT(trace_da_overlays, offsetof(struct sidecore_trace, da) == SIDECORE_TRACE_DA_AT);
SIDECORE_ASSERT(trace_len_follows, SIDECORE_TRACE_LEN_AT == SIDECORE_TRACE_DA_AT + 4);
SIDECORE_ASSERT(trace_len_overlays, offsetof(struct sidecore_trace, len) == SIDECORE_TRACE_LEN_AT);
SIDECORE_ASSERT(trace_reserved_follows, SIDECORE_TRACE_RESERVED_AT == SIDECORE_TRACE_LEN_AT + 4);
SIDECORE_ASSERT(trace_reserved_overlays, offsetof(struct sidecore_trace, reserved) == SIDECORE_TRACE_RESERVED_AT);
SIDECORE_ASSERT(trace_name_follows, SIDECORE_TRACE_NAME_AT == SIDECORE_TRACE_RESERVED_AT + 4);
SIDECORE_ASSERT(trace_name_overlays, offsetof(struct sidecore_trace, name) == SIDECORE_TRACE_NAME_AT);
SIDECORE_ASSERT(trace_ends, SIDECORE_TRACE_SIZE == SIDECORE_TRACE_NAME_AT + 32);
SIDECORE_ASSERT(trace_is_as_long, sizeof(struct sidecore_trace) == 48);

static inline void sidecore_trace_parse(struct sidecore_trace *to, const uint8_t *from)
{
    to->type = sidecore_get_u32(from + SIDECORE_TRACE_TYPE_AT);
    to->da = sidecore_get_u32(from + SIDECORE_TRACE_DA_AT);
    to->len = sidecore_get_u32(from + SIDECORE_TRACE_LEN_AT);
    to->reserved = sidecore_get_u32(from + SIDECORE_TRACE_RESERVED_AT);
    sidecore_copy(to->name, from + SIDECORE_TRACE_NAME_AT, 32);
}

static inline void sidecore_trace_emit(const struct sidecore_trace *from, uint8_t *to)
{
    sidecore_put_u32(to + SIDECORE_TRACE_TYPE_AT, from->type);
    sidecore_put_u32(to + SIDECORE_TRACE_DA_AT, from->da);
    sidecore_put_u32(to + SIDECORE_TRACE_LEN_AT, from->len);
    sidecore_put_u32(to + SIDECORE_TRACE_RESERVED_AT, from->reserved);
    sidecore_copy(to + SIDECORE_TRACE_NAME_AT, from->name, 32);
}

/* An entry of a resource table, our own: how much was written to a trace buffer and read of it. */
#define SIDECORE_TRACE_WORDS_SIZE 32
#define SIDECORE_TRACE_WORDS_TYPE_AT 0
#define SIDECORE_TRACE_WORDS_KIND_AT 4
#define SIDECORE_TRACE_WORDS_TRACE_AT 8
#define SIDECORE_TRACE_WORDS_FLAGS_AT 12
#define SIDECORE_TRACE_WORDS_TOTAL_AT 16
#define SIDECORE_TRACE_WORDS_CLAIMED_AT 20
#define SIDECORE_TRACE_WORDS_READ_AT 24
#define SIDECORE_TRACE_WORDS_WAKE_AT 28

/* As it lies in memory, on a little endian processor. */
struct sidecore_trace_words {
    uint32_t type;
    uint32_t kind;
    uint32_t trace;
    uint32_t flags;
    uint32_t total;
    uint32_t claimed;
    uint32_t read;
    uint32_t wake;
};

SIDECORE_ASSERT(trace_words_type_follows, SIDECORE_TRACE_WORDS_TYPE_AT == 0);
SIDECORE_ASSERT(trace_words_type_overlays, offsetof(struct sidecore_trace_words, type) == SIDECORE_TRACE_WORDS_TYPE_AT);
SIDECORE_ASSERT(trace_words_kind_follows, SIDECORE_TRACE_WORDS_KIND_AT == SIDECORE_TRACE_WORDS_TYPE_AT + 4);
SIDECORE_ASSERT(trace_words_kind_overlays, offsetof(struct sidecore_trace_words, kind) == SIDECORE_TRACE_WORDS_KIND_AT);
SIDECORE_ASSERT(trace_words_trace_follows, SIDECORE_TRACE_WORDS_TRACE_AT == SIDECORE_TRACE_WORDS_KIND_AT + 4);
SIDECORE_ASSERT(trace_words_trace_overlays, offsetof(struct sidecore_trace_words, trace) == SIDECORE_TRACE_WORDS_TRACE_AT);
SIDECORE_ASSERT(trace_words_flags_follows, SIDECORE_TRACE_WORDS_FLAGS_AT == SIDECORE_TRACE_WORDS_TRACE_AT + 4);
SIDECORE_ASSERT(trace_words_flags_overlays, offsetof(struct sidecore_trace_words, flags) == SIDECORE_TRACE_WORDS_FLAGS_AT);
SIDECORE_ASSERT(trace_words_total_follows, SIDECORE_TRACE_WORDS_TOTAL_AT == SIDECORE_TRACE_WORDS_FLAGS_AT + 4);
SIDECORE_ASSERT(trace_words_total_overlays, offsetof(struct sidecore_trace_words, total) == SIDECORE_TRACE_WORDS_TOTAL_AT);
SIDECORE_ASSERT(trace_words_claimed_follows, SIDECORE_TRACE_WORDS_CLAIMED_AT == SIDECORE_TRACE_WORDS_TOTAL_AT + 4);
SIDECORE_ASSERT(trace_words_claimed_overlays, offsetof(struct sidecore_trace_words, claimed) == SIDECORE_TRACE_WORDS_CLAIMED_AT);
SIDECORE_ASSERT(trace_words_read_follows, SIDECORE_TRACE_WORDS_READ_AT == SIDECORE_TRACE_WORDS_CLAIMED_AT + 4);
SIDECORE_ASSERT(trace_words_read_overlays, offsetof(struct sidecore_trace_words, read) == SIDECORE_TRACE_WORDS_READ_AT);
SIDECORE_ASSERT(trace_words_wake_follows, SIDECORE_TRACE_WORDS_WAKE_AT == SIDECORE_TRACE_WORDS_READ_AT + 4);
SIDECORE_ASSERT(trace_words_wake_overlays, offsetof(struct sidecore_trace_words, wake) == SIDECORE_TRACE_WORDS_WAKE_AT);
SIDECORE_ASSERT(trace_words_ends, SIDECORE_TRACE_WORDS_SIZE == SIDECORE_TRACE_WORDS_WAKE_AT + 4);
SIDECORE_ASSERT(trace_words_is_as_long, sizeof(struct sidecore_trace_words) == 32);

static inline void sidecore_trace_words_parse(struct sidecore_trace_words *to, const uint8_t *from)
{
    to->type = sidecore_get_u32(from + SIDECORE_TRACE_WORDS_TYPE_AT);
    to->kind = sidecore_get_u32(from + SIDECORE_TRACE_WORDS_KIND_AT);
    to->trace = sidecore_get_u32(from + SIDECORE_TRACE_WORDS_TRACE_AT);
    to->flags = sidecore_get_u32(from + SIDECORE_TRACE_WORDS_FLAGS_AT);
    to->total = sidecore_get_u32(from + SIDECORE_TRACE_WORDS_TOTAL_AT);
    to->claimed = sidecore_get_u32(from + SIDECORE_TRACE_WORDS_CLAIMED_AT);
    to->read = sidecore_get_u32(from + SIDECORE_TRACE_WORDS_READ_AT);
    to->wake = sidecore_get_u32(from + SIDECORE_TRACE_WORDS_WAKE_AT);
}

static inline void sidecore_trace_words_emit(const struct sidecore_trace_words *from, uint8_t *to)
{
    sidecore_put_u32(to + SIDECORE_TRACE_WORDS_TYPE_AT, from->type);
    sidecore_put_u32(to + SIDECORE_TRACE_WORDS_KIND_AT, from->kind);
    sidecore_put_u32(to + SIDECORE_TRACE_WORDS_TRACE_AT, from->trace);
    sidecore_put_u32(to + SIDECORE_TRACE_WORDS_FLAGS_AT, from->flags);
    sidecore_put_u32(to + SIDECORE_TRACE_WORDS_TOTAL_AT, from->total);
    sidecore_put_u32(to + SIDECORE_TRACE_WORDS_CLAIMED_AT, from->claimed);
    sidecore_put_u32(to + SIDECORE_TRACE_WORDS_READ_AT, from->read);
    sidecore_put_u32(to + SIDECORE_TRACE_WORDS_WAKE_AT, from->wake);
}

/* An entry of a resource table: a virtio device; its rings and configuration space follow. */
#define SIDECORE_VDEV_SIZE 28
#define SIDECORE_VDEV_TYPE_AT 0
#define SIDECORE_VDEV_ID_AT 4
#define SIDECORE_VDEV_NOTIFYID_AT 8
#define SIDECORE_VDEV_DFEATURES_AT 12
#define SIDECORE_VDEV_GFEATURES_AT 16
#define SIDECORE_VDEV_CONFIG_LEN_AT 20
#define SIDECORE_VDEV_STATUS_AT 24
#define SIDECORE_VDEV_NUM_OF_VRINGS_AT 25
#define SIDECORE_VDEV_RESERVED_AT 26

/* As it lies in memory, on a little endian processor. */
struct sidecore_vdev {
    uint32_t type;
    uint32_t id;
    uint32_t notifyid;
    uint32_t dfeatures;
    uint32_t gfeatures;
    uint32_t config_len;
    uint8_t status;
    uint8_t num_of_vrings;
    uint8_t reserved[2];
};

SIDECORE_ASSERT(vdev_type_follows, SIDECORE_VDEV_TYPE_AT == 0);
SIDECORE_ASSERT(vdev_type_overlays, offsetof(struct sidecore_vdev, type) == SIDECORE_VDEV_TYPE_AT);
SIDECORE_ASSERT(vdev_id_follows, SIDECORE_VDEV_ID_AT == SIDECORE_VDEV_TYPE_AT + 4);
SIDECORE_ASSERT(vdev_id_overlays, offsetof(struct sidecore_vdev, id) == SIDECORE_VDEV_ID_AT);
SIDECORE_ASSERT(vdev_notifyid_follows, SIDECORE_VDEV_NOTIFYID_AT == SIDECORE_VDEV_ID_AT + 4);
SIDECORE_ASSERT(vdev_notifyid_overlays, offsetof(struct sidecore_vdev, notifyid) == SIDECORE_VDEV_NOTIFYID_AT);
SIDECORE_ASSERT(vdev_dfeatures_follows, SIDECORE_VDEV_DFEATURES_AT == SIDECORE_VDEV_NOTIFYID_AT + 4);
SIDECORE_ASSERT(vdev_dfeatures_overlays, offsetof(struct sidecore_vdev, dfeatures) == SIDECORE_VDEV_DFEATURES_AT);
SIDECORE_ASSERT(vdev_gfeatures_follows, SIDECORE_VDEV_GFEATURES_AT == SIDECORE_VDEV_DFEATURES_AT + 4);
SIDECORE_ASSERT(vdev_gfeatures_overlays, offsetof(struct sidecore_vdev, gfeatures) == SIDECORE_VDEV_GFEATURES_AT);
SIDECORE_ASSERT(vdev_config_len_follows, SIDECORE_VDEV_CONFIG_LEN_AT == SIDECORE_VDEV_GFEATURES_AT + 4);
SIDECORE_ASSERT(vdev_config_len_overlays, offsetof(struct sidecore_vdev, config_len) == SIDECORE_VDEV_CONFIG_LEN_AT);
SIDECORE_ASSERT(vdev_status_follows, SIDECORE_VDEV_STATUS_AT == SIDECORE_VDEV_CONFIG_LEN_AT + 4);
SIDECORE_ASSERT(vdev_status_overlays, offsetof(struct sidecore_vdev, status) == SIDECORE_VDEV_STATUS_AT);
SIDECORE_ASSERT(vdev_num_of_vrings_follows, SIDECORE_VDEV_NUM_OF_VRINGS_AT == SIDECORE_VDEV_STATUS_AT + 1);
SIDECORE_ASSERT(vdev_num_of_vrings_overlays, offsetof(struct sidecore_vdev, num_of_vrings) == SIDECORE_VDEV_NUM_OF_VRINGS_AT);
SIDECORE_ASSERT(vdev_reserved_follows, SIDECORE_VDEV_RESERVED_AT == SIDECORE_VDEV_NUM_OF_VRINGS_AT + 1);
SIDECORE_ASSERT(vdev_reserved_overlays, offsetof(struct sidecore_vdev, reserved) == SIDECORE_VDEV_RESERVED_AT);
SIDECORE_ASSERT(vdev_ends, SIDECORE_VDEV_SIZE == SIDECORE_VDEV_RESERVED_AT + 2);
SIDECORE_ASSERT(vdev_is_as_long, sizeof(struct sidecore_vdev) == 28);

static inline void sidecore_vdev_parse(struct sidecore_vdev *to, const uint8_t *from)
{
    to->type = sidecore_get_u32(from + SIDECORE_VDEV_TYPE_AT);
    to->id = sidecore_get_u32(from + SIDECORE_VDEV_ID_AT);
    to->notifyid = sidecore_get_u32(from + SIDECORE_VDEV_NOTIFYID_AT);
    to->dfeatures = sidecore_get_u32(from + SIDECORE_VDEV_DFEATURES_AT);
    to->gfeatures = sidecore_get_u32(from + SIDECORE_VDEV_GFEATURES_AT);
    to->config_len = sidecore_get_u32(from + SIDECORE_VDEV_CONFIG_LEN_AT);
    to->status = sidecore_get_u8(from + SIDECORE_VDEV_STATUS_AT);
    to->num_of_vrings = sidecore_get_u8(from + SIDECORE_VDEV_NUM_OF_VRINGS_AT);
    sidecore_copy(to->reserved, from + SIDECORE_VDEV_RESERVED_AT, 2);
}

static inline void sidecore_vdev_emit(const struct sidecore_vdev *from, uint8_t *to)
{
    sidecore_put_u32(to + SIDECORE_VDEV_TYPE_AT, from->type);
    sidecore_put_u32(to + SIDECORE_VDEV_ID_AT, from->id);
    sidecore_put_u32(to + SIDECORE_VDEV_NOTIFYID_AT, from->notifyid);
    sidecore_put_u32(to + SIDECORE_VDEV_DFEATURES_AT, from->dfeatures);
    sidecore_put_u32(to + SIDECORE_VDEV_GFEATURES_AT, from->gfeatures);
    sidecore_put_u32(to + SIDECORE_VDEV_CONFIG_LEN_AT, from->config_len);
    sidecore_put_u8(to + SIDECORE_VDEV_STATUS_AT, from->status);
    sidecore_put_u8(to + SIDECORE_VDEV_NUM_OF_VRINGS_AT, from->num_of_vrings);
    sidecore_copy(to + SIDECORE_VDEV_RESERVED_AT, from->reserved, 2);
}

/* A ring of a vdev entry. */
#define SIDECORE_VRING_SIZE 20
#define SIDECORE_VRING_DA_AT 0
#define SIDECORE_VRING_ALIGN_AT 4
#define SIDECORE_VRING_NUM_AT 8
#define SIDECORE_VRING_NOTIFYID_AT 12
#define SIDECORE_VRING_PA_AT 16

/* As it lies in memory, on a little endian processor. */
struct sidecore_vring {
    uint32_t da;
    uint32_t align;
    uint32_t num;
    uint32_t notifyid;
    uint32_t pa;
};

SIDECORE_ASSERT(vring_da_follows, SIDECORE_VRING_DA_AT == 0);
SIDECORE_ASSERT(vring_da_overlays, offsetof(struct sidecore_vring, da) == SIDECORE_VRING_DA_AT);
SIDECORE_ASSERT(vring_align_follows, SIDECORE_VRING_ALIGN_AT == SIDECORE_VRING_DA_AT + 4);
SIDECORE_ASSERT(vring_align_overlays, offsetof(struct sidecore_vring, align) == SIDECORE_VRING_ALIGN_AT);
SIDECORE_ASSERT(vring_num_follows, SIDECORE_VRING_NUM_AT == SIDECORE_VRING_ALIGN_AT + 4);
SIDECORE_ASSERT(vring_num_overlays, offsetof(struct sidecore_vring, num) == SIDECORE_VRING_NUM_AT);
SIDECORE_ASSERT(vring_notifyid_follows, SIDECORE_VRING_NOTIFYID_AT == SIDECORE_VRING_NUM_AT + 4);
SIDECORE_ASSERT(vring_notifyid_overlays, offsetof(struct sidecore_vring, notifyid) == SIDECORE_VRING_NOTIFYID_AT);
SIDECORE_ASSERT(vring_pa_follows, SIDECORE_VRING_PA_AT == SIDECORE_VRING_NOTIFYID_AT + 4);
SIDECORE_ASSERT(vring_pa_overlays, offsetof(struct sidecore_vring, pa) == SIDECORE_VRING_PA_AT);
SIDECORE_ASSERT(vring_ends, SIDECORE_VRING_SIZE == SIDECORE_VRING_PA_AT + 4);
SIDECORE_ASSERT(vring_is_as_long, sizeof(struct sidecore_vring) == 20);

static inline void sidecore_vring_parse(struct sidecore_vring *to, const uint8_t *from)
{
    to->da = sidecore_get_u32(from + SIDECORE_VRING_DA_AT);
    to->align = sidecore_get_u32(from + SIDECORE_VRING_ALIGN_AT);
    to->num = sidecore_get_u32(from + SIDECORE_VRING_NUM_AT);
    to->notifyid = sidecore_get_u32(from + SIDECORE_VRING_NOTIFYID_AT);
    to->pa = sidecore_get_u32(from + SIDECORE_VRING_PA_AT);
}

static inline void sidecore_vring_emit(const struct sidecore_vring *from, uint8_t *to)
{
    sidecore_put_u32(to + SIDECORE_VRING_DA_AT, from->da);
    sidecore_put_u32(to + SIDECORE_VRING_ALIGN_AT, from->align);
    sidecore_put_u32(to + SIDECORE_VRING_NUM_AT, from->num);
    sidecore_put_u32(to + SIDECORE_VRING_NOTIFYID_AT, from->notifyid);
    sidecore_put_u32(to + SIDECORE_VRING_PA_AT, from->pa);
}

/* The configuration space of an rpmsg device that offers F_BUFSZ; provisional. */
#define SIDECORE_RPMSG_CONFIG_SIZE 11
#define SIDECORE_RPMSG_CONFIG_VERSION_AT 0
#define SIDECORE_RPMSG_CONFIG_SIZE_AT 1
#define SIDECORE_RPMSG_CONFIG_TXBUF_SIZE_AT 3
#define SIDECORE_RPMSG_CONFIG_RXBUF_SIZE_AT 7

/* Not as it lies in memory: there, fields are not aligned. */
struct sidecore_rpmsg_config {
    uint8_t version;
    uint16_t size;
    uint32_t txbuf_size;
    uint32_t rxbuf_size;
};

SIDECORE_ASSERT(rpmsg_config_version_follows, SIDECORE_RPMSG_CONFIG_VERSION_AT == 0);
SIDECORE_ASSERT(rpmsg_config_size_follows, SIDECORE_RPMSG_CONFIG_SIZE_AT == SIDECORE_RPMSG_CONFIG_VERSION_AT + 1);
SIDECORE_ASSERT(rpmsg_config_txbuf_size_follows, SIDECORE_RPMSG_CONFIG_TXBUF_SIZE_AT == SIDECORE_RPMSG_CONFIG_SIZE_AT + 2);
SIDECORE_ASSERT(rpmsg_config_rxbuf_size_follows, SIDECORE_RPMSG_CONFIG_RXBUF_SIZE_AT == SIDECORE_RPMSG_CONFIG_TXBUF_SIZE_AT + 4);
SIDECORE_ASSERT(rpmsg_config_ends, SIDECORE_RPMSG_CONFIG_SIZE == SIDECORE_RPMSG_CONFIG_RXBUF_SIZE_AT + 4);

static inline void sidecore_rpmsg_config_parse(struct sidecore_rpmsg_config *to, const uint8_t *from)
{
    to->version = sidecore_get_u8(from + SIDECORE_RPMSG_CONFIG_VERSION_AT);
    to->size = sidecore_get_u16(from + SIDECORE_RPMSG_CONFIG_SIZE_AT);
    to->txbuf_size = sidecore_get_u32(from + SIDECORE_RPMSG_CONFIG_TXBUF_SIZE_AT);
    to->rxbuf_size = sidecore_get_u32(from + SIDECORE_RPMSG_CONFIG_RXBUF_SIZE_AT);
}

static inline void sidecore_rpmsg_config_emit(const struct sidecore_rpmsg_config *from, uint8_t *to)
{
    sidecore_put_u8(to + SIDECORE_RPMSG_CONFIG_VERSION_AT, from->version);
    sidecore_put_u16(to + SIDECORE_RPMSG_CONFIG_SIZE_AT, from->size);
    sidecore_put_u32(to + SIDECORE_RPMSG_CONFIG_TXBUF_SIZE_AT, from->txbuf_size);
    sidecore_put_u32(to + SIDECORE_RPMSG_CONFIG_RXBUF_SIZE_AT, from->rxbuf_size);
}

/* The last bytes of the configuration space of an rpmsg device that offers F_EPOCH. */
#define SIDECORE_RPMSG_EPOCHS_SIZE 8
#define SIDECORE_RPMSG_EPOCHS_DRIVER_EPOCH_AT 0
#define SIDECORE_RPMSG_EPOCHS_DEVICE_EPOCH_AT 4

/* As it lies in memory, on a little endian processor. */
struct sidecore_rpmsg_epochs {
    uint32_t driver_epoch;
    uint32_t device_epoch;
};

SIDECORE_ASSERT(rpmsg_epochs_driver_epoch_follows, SIDECORE_RPMSG_EPOCHS_DRIVER_EPOCH_AT == 0);
SIDECORE_ASSERT(rpmsg_epochs_driver_epoch_overlays, offsetof(struct sidecore_rpmsg_epochs, driver_epoch) == SIDECORE_RPMSG_EPOCHS_DRIVER_EPOCH_AT);
SIDECORE_ASSERT(rpmsg_epochs_device_epoch_follows, SIDECORE_RPMSG_EPOCHS_DEVICE_EPOCH_AT == SIDECORE_RPMSG_EPOCHS_DRIVER_EPOCH_AT + 4);
SIDECORE_ASSERT(rpmsg_epochs_device_epoch_overlays, offsetof(struct sidecore_rpmsg_epochs, device_epoch) == SIDECORE_RPMSG_EPOCHS_DEVICE_EPOCH_AT);
SIDECORE_ASSERT(rpmsg_epochs_ends, SIDECORE_RPMSG_EPOCHS_SIZE == SIDECORE_RPMSG_EPOCHS_DEVICE_EPOCH_AT + 4);
SIDECORE_ASSERT(rpmsg_epochs_is_as_long, sizeof(struct sidecore_rpmsg_epochs) == 8);

static inline void sidecore_rpmsg_epochs_parse(struct sidecore_rpmsg_epochs *to, const uint8_t *from)
{
    to->driver_epoch = sidecore_get_u32(from + SIDECORE_RPMSG_EPOCHS_DRIVER_EPOCH_AT);
    to->device_epoch = sidecore_get_u32(from + SIDECORE_RPMSG_EPOCHS_DEVICE_EPOCH_AT);
}

static inline void sidecore_rpmsg_epochs_emit(const struct sidecore_rpmsg_epochs *from, uint8_t *to)
{
    sidecore_put_u32(to + SIDECORE_RPMSG_EPOCHS_DRIVER_EPOCH_AT, from->driver_epoch);
    sidecore_put_u32(to + SIDECORE_RPMSG_EPOCHS_DEVICE_EPOCH_AT, from->device_epoch);
}

/* The hand-over page of the sandbox, our own. */
#define SIDECORE_SANDBOX_PAGE_SIZE 4096
#define SIDECORE_SANDBOX_PAGE_MAGIC_AT 0
#define SIDECORE_SANDBOX_PAGE_VERSION_AT 4
#define SIDECORE_SANDBOX_PAGE_TABLE_DA_AT 8
#define SIDECORE_SANDBOX_PAGE_TABLE_LEN_AT 16
#define SIDECORE_SANDBOX_PAGE_TICK_HZ_AT 24
#define SIDECORE_SANDBOX_PAGE_CPU_COUNT_AT 32
#define SIDECORE_SANDBOX_PAGE_DOORBELL_IN_AT 36
#define SIDECORE_SANDBOX_PAGE_DOORBELL_OUT_AT 40
#define SIDECORE_SANDBOX_PAGE_TRACE_BELL_AT 44
#define SIDECORE_SANDBOX_PAGE_HOST_ASLEEP_AT 64
#define SIDECORE_SANDBOX_PAGE_REMOTE_ASLEEP_AT 128
#define SIDECORE_SANDBOX_PAGE_WATCHDOG_PERIOD_MS_AT 192
#define SIDECORE_SANDBOX_PAGE_WATCHDOG_COUNT_AT 196
#define SIDECORE_SANDBOX_PAGE_STATE_AT 200
#define SIDECORE_SANDBOX_PAGE_EXIT_CODE_AT 204
#define SIDECORE_SANDBOX_PAGE_MAIN_SIDES_AT 208
#define SIDECORE_SANDBOX_PAGE_MAIN_SIDE_GONE_AT 212
#define SIDECORE_SANDBOX_PAGE_PANIC_LEN_AT 256
#define SIDECORE_SANDBOX_PAGE_PANIC_TEXT_AT 260
#define SIDECORE_SANDBOX_PAGE_STACK_TOP_AT 1024
#define SIDECORE_SANDBOX_PAGE_STACK_SIZE_AT 1032
#define SIDECORE_SANDBOX_PAGE_MEMORIES_COUNT_AT 1040
#define SIDECORE_SANDBOX_PAGE_MEMORIES_AT 1048
#define SIDECORE_SANDBOX_PAGE_FAULT_AT 2080
#define SIDECORE_SANDBOX_PAGE_FAULT_VALID_AT 2120

#ifdef __cplusplus
}
#endif

#endif
