/*
 * Loaded before user-mode Linux where the CPU's XSAVE area is larger than what its kernel keeps.
 *
 * Linux 6.1 for user mode saves a process's registers in 2696 bytes. On a CPU with Intel's AMX the
 * area has 11008, and the host's kernel takes the registers back (PTRACE_SETREGSET) only as a
 * whole: the guest dies when it starts its first program. Here the area is filled up to the size
 * that the host gives it; the guest never used what lies beyond, so that is in its initial state.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { PEEK_TEXT = 1, PEEK_USER = 3, GET_REGISTERS = 0x4204, SET_REGISTERS = 0x4205 };
enum { XSTATE = 0x202, LARGEST_AREA = 65536, FEATURES_AT = 512, HEADER_END = 576 };

/* XSTATE_BV: the tile's configuration and its data, which no guest has */
static const uint64_t TILES = UINT64_C(3) << 17;

static char area[LARGEST_AREA] __attribute__((aligned(64)));

static long call(long request, long process, void *address, void *data)
{
	return syscall(SYS_ptrace, request, process, address, data);
}

static long set_whole_area(long process, void *kind, const struct iovec *given)
{
	struct iovec whole = { .iov_base = area, .iov_len = sizeof area };
	uint64_t features;

	if (call(GET_REGISTERS, process, kind, &whole) != 0)
		return -1;
	if (given->iov_len < HEADER_END || given->iov_len >= whole.iov_len)
		return call(SET_REGISTERS, process, kind, (void *)given);
	memset(area, 0, whole.iov_len);
	memcpy(area, given->iov_base, given->iov_len);
	memcpy(&features, area + FEATURES_AT, sizeof features);
	features &= ~TILES;
	memcpy(area + FEATURES_AT, &features, sizeof features);
	return call(SET_REGISTERS, process, kind, &whole);
}

/* In the place of the C library's function, whose PEEK requests give the word itself. */
long ptrace(int request, ...)
{
	va_list arguments;
	long process, result, word = 0;
	void *address, *data;

	va_start(arguments, request);
	process = va_arg(arguments, int);
	address = va_arg(arguments, void *);
	data = va_arg(arguments, void *);
	va_end(arguments);
	if (request == SET_REGISTERS && (uintptr_t)address == XSTATE)
		return set_whole_area(process, address, data);
	if (request < PEEK_TEXT || request > PEEK_USER)
		return call(request, process, address, data);
	result = call(request, process, address, &word);
	if (result < 0)
		return result;
	errno = 0;
	return word;
}
