# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False
"""The core's solvers as a good Cython package ships them: typed memoryviews, prange, no GIL.

float32, CSR with 64-bit pointers. Half sweeps solve the rows of one side in place; a bias beside
the factors is a factor whose counterpart is always 1. What all rows share comes as a spectrum: the
caller has turned both tables into its eigenbasis, as the core and its NumPy twin do.
"""

from cython.parallel cimport parallel, prange
from libc.math cimport sqrtf
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset
from scipy.linalg.cython_blas cimport ssyrk
from scipy.linalg.cython_lapack cimport sposv

from matfac import _als

cdef extern from *:
    """
    #if defined(__GNUC__)
    #define prefetch_row(row, bytes) \
        for (int at_ = 0; at_ < (bytes); at_ += 64) __builtin_prefetch((const char*)(row) + at_)
    #else
    #define prefetch_row(row, bytes) ((void)0)
    #endif
    """
    void prefetch_row(const void* row, int bytes) noexcept nogil

cdef float RELAXATION = _als.RELAXATION  # of the steps of conjugate gradient

cdef enum:
    AHEAD = 8  # entries from the one read to the one fetched
    CHUNK = 16  # rows handed out at a time
    TILE = 128  # entries that the normal equations take at a time


cdef struct Problem:  # of one row: its entries, and what all rows share
    const int* index
    const float* c  # curvature of each entry, NULL: 1
    const float* g  # linear term of each entry
    int64_t n
    const float* fixed
    int k
    bint bias
    const float* spectrum  # of the shared matrix, or NULL
    float scale  # its weight in the problem
    float metric  # its weight in the preconditioner
    float ridge


cdef inline float dot(const float* a, const float* b, int k) noexcept nogil:
    cdef float total = 0
    cdef int i
    for i in range(k):
        total += a[i] * b[i]
    return total


cdef inline void axpy(float a, const float* x, float* y, int k) noexcept nogil:
    cdef int i
    for i in range(k):
        y[i] += a * x[i]


cdef void apply(const Problem* p, float* d, float* q) noexcept nogil:
    """q = (sum_j c_j y_j y_j' + scale diag(spectrum) + ridge I) d"""
    cdef int k = p.k, i
    cdef float s
    cdef int64_t j
    cdef const float* y
    for i in range(k + p.bias):
        q[i] = p.ridge * d[i]
    if p.spectrum != NULL:
        for i in range(k):
            q[i] += p.scale * p.spectrum[i] * d[i]
    for j in range(p.n):
        y = p.fixed + <int64_t>p.index[j] * k
        s = dot(y, d, k)
        if p.bias:
            s += d[k]
        if p.c != NULL:
            s *= p.c[j]
        axpy(s, y, q, k)
        if p.bias:
            q[k] += s


cdef void cg_row(const Problem* p, float* x, int steps, float* work) noexcept nogil:
    """Conjugate gradient from x, preconditioned by what is shared; work: 4 (k + 1) floats."""
    cdef int k = p.k, width = p.k + p.bias, i, step
    cdef float *r = work
    cdef float *d = r + width
    cdef float *q = d + width
    cdef float *m = q + width
    cdef float rz = 0, following, alpha
    cdef int64_t j
    apply(p, x, q)
    for i in range(width):
        r[i] = -q[i]
        m[i] = p.ridge
    for i in range(k):
        m[i] += p.metric * p.spectrum[i]
    if p.bias:
        m[k] += p.n
    for j in range(p.n):
        axpy(p.g[j], p.fixed + <int64_t>p.index[j] * k, r, k)
        if p.bias:
            r[k] += p.g[j]
    for i in range(width):
        m[i] = 1 / m[i]
        d[i] = m[i] * r[i]
        rz += r[i] * d[i]
    for step in range(steps):
        if rz < 1e-20:
            break
        apply(p, d, q)
        alpha = rz / dot(d, q, width)
        following = 0
        for i in range(width):
            x[i] += RELAXATION * alpha * d[i]
            r[i] -= alpha * q[i]
            following += r[i] * r[i] * m[i]
        for i in range(width):
            d[i] = m[i] * r[i] + (following / rz) * d[i]
        rz = following


cdef void exact_row(const Problem* p, float* x, float* work) noexcept nogil:
    """Normal equations and Cholesky; work: (k + 1)^2 + TILE (k + 1) floats."""
    cdef int k = p.k, width = p.k + p.bias, one = 1, n, info, i
    cdef float *a = work
    cdef float *tile = a + width * width
    cdef float unit = 1, w
    cdef int64_t j, begin
    cdef const float* y
    memset(a, 0, width * width * sizeof(float))
    memset(x, 0, width * sizeof(float))
    for i in range(width):
        a[i * width + i] = p.ridge
        if i < k and p.spectrum != NULL:
            a[i * width + i] += p.scale * p.spectrum[i]
    begin = 0
    while begin < p.n:
        n = <int>min(<int64_t>TILE, p.n - begin)
        for j in range(n):
            y = p.fixed + <int64_t>p.index[begin + j] * k
            axpy(p.g[begin + j], y, x, k)
            w = 1 if p.c == NULL else sqrtf(p.c[begin + j])
            for i in range(k):
                tile[j * width + i] = w * y[i]
            if p.bias:
                tile[j * width + k] = w
                x[k] += p.g[begin + j]
        ssyrk(b"U", b"N", &width, &n, &unit, tile, &width, &unit, a, &width)
        begin += n
    sposv(b"U", &width, &one, a, &width, x, &width, &info)


cdef void solve_row(const Problem* p, float* x, int steps, float* work) noexcept nogil:
    if p.n == 0:
        memset(x, 0, (p.k + p.bias) * sizeof(float))
    elif steps > 0:
        cg_row(p, x, steps, work)
    else:
        exact_row(p, x, work)


cdef size_t work_size(int width) noexcept nogil:
    return <size_t>width * max(width + TILE, 5)


def explicit_half_sweep(
    const int64_t[::1] indptr, const int[::1] indices, const float[::1] values, float mean,
    const float[:, ::1] fixed, const float[::1] fixed_bias, float[:, ::1] solved,
    float[::1] solved_bias, const float[::1] ridge, const float[::1] spectrum, int steps,
    int threads,
):
    """Solve every row for its factors and bias. The spectrum is that of the mean of the fixed
    rows' products, for the preconditioner; steps = 0: exactly."""
    cdef int k = fixed.shape[1], row, i, n_rows = indptr.shape[0] - 1
    cdef int64_t j, longest = 0
    cdef float *g
    cdef float *x
    cdef float *work
    cdef Problem* p
    for row in range(n_rows):
        longest = max(longest, indptr[row + 1] - indptr[row])
    with nogil, parallel(num_threads=threads):
        g = <float*>malloc(longest * sizeof(float))
        x = <float*>malloc((k + 1) * sizeof(float))
        work = <float*>malloc(work_size(k + 1) * sizeof(float))
        p = <Problem*>malloc(sizeof(Problem))
        for row in prange(n_rows, schedule="dynamic", chunksize=CHUNK):
            p.index = &indices[0] + indptr[row]
            p.n = indptr[row + 1] - indptr[row]
            for j in range(p.n):
                g[j] = values[indptr[row] + j] - mean - fixed_bias[p.index[j]]
            p.c, p.g, p.fixed, p.k, p.bias = NULL, g, &fixed[0, 0], k, True
            p.spectrum, p.scale, p.metric = &spectrum[0], 0, p.n
            p.ridge = ridge[row]
            for i in range(k):
                x[i] = solved[row, i]
            x[k] = solved_bias[row]
            solve_row(p, x, steps, work)
            for i in range(k):
                solved[row, i] = x[i]
            solved_bias[row] = x[k]
        free(g)
        free(x)
        free(work)
        free(p)


def implicit_half_sweep(
    const int64_t[::1] indptr, const int[::1] indices, const float[::1] weights,
    const float[:, ::1] fixed, float[:, ::1] solved, const float[::1] ridge,
    const float[::1] spectrum, float alpha0, int steps, int threads,
):
    """Solve every row. The spectrum is that of the fixed side's Gram; steps = 0: exactly."""
    cdef int k = fixed.shape[1], row, n_rows = indptr.shape[0] - 1
    cdef float *work
    cdef Problem* p
    with nogil, parallel(num_threads=threads):
        work = <float*>malloc(work_size(k) * sizeof(float))
        p = <Problem*>malloc(sizeof(Problem))
        for row in prange(n_rows, schedule="dynamic", chunksize=CHUNK):
            p.index = &indices[0] + indptr[row]
            p.n = indptr[row + 1] - indptr[row]
            p.c = p.g = &weights[0] + indptr[row]
            p.fixed, p.k, p.bias = &fixed[0, 0], k, False
            p.spectrum, p.scale, p.metric = &spectrum[0], alpha0, alpha0
            p.ridge = ridge[row]
            solve_row(p, &solved[row, 0], steps, work)
        free(work)
        free(p)


def sgd_epoch(
    const int[::1] user, const int[::1] item, const float[::1] values, float mean,
    float[:, ::1] users, float[:, ::1] items, float[:, ::1] user_rows, float[:, ::1] item_rows,
    float rate, float bias_rate, int threads,
):
    """Hogwild: every rating once, in the order given. *_rows: bias, sum of squared errors, decay."""
    cdef int k = users.shape[1], c
    cdef int64_t j, n = user.shape[0]
    cdef float *x
    cdef float *y
    cdef float *u
    cdef float *i
    cdef float e, rate_u, rate_i, keep_u, keep_i, xc
    for j in prange(n, nogil=True, schedule="dynamic", chunksize=4096, num_threads=threads):
        x, y = &users[user[j], 0], &items[item[j], 0]
        u, i = &user_rows[user[j], 0], &item_rows[item[j], 0]
        e = values[j] - mean - u[0] - i[0] - dot(x, y, k)
        rate_u, rate_i = rate / sqrtf(u[1]), rate / sqrtf(i[1])
        keep_u, keep_i = 1 - rate_u * u[2], 1 - rate_i * i[2]
        for c in range(k):
            xc = x[c]
            x[c] = keep_u * xc + rate_u * e * y[c]
            y[c] = keep_i * y[c] + rate_i * e * xc
        u[0] = u[0] + bias_rate * rate_u * (e - u[2] * u[0])
        i[0] = i[0] + bias_rate * rate_i * (e - i[2] * i[0])
        u[1] = u[1] + e * e
        i[1] = i[1] + e * e


def read_rows(
    const int64_t[::1] indptr, const int[::1] indices, const float[:, ::1] fixed,
    float[:, ::1] solved, int threads,
):
    """Least that a half sweep can do: every entry's fixed row is read once, its sum written."""
    cdef int k = fixed.shape[1], row, n_rows = indptr.shape[0] - 1, i
    cdef int64_t j, last = indices.shape[0] - 1
    cdef float* x
    for row in prange(n_rows, nogil=True, schedule="dynamic", chunksize=256, num_threads=threads):
        x = &solved[row, 0]
        for i in range(k):
            x[i] = 0
        for j in range(indptr[row], indptr[row + 1]):
            prefetch_row(&fixed[indices[min(j + AHEAD, last)], 0], k * sizeof(float))
            axpy(1, &fixed[indices[j], 0], x, k)
