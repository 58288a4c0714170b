/* A matrix product by the system's BLAS, to be traced: dgemm N, C = A B of N by N numbers. */
#include <stdio.h>
#include <stdlib.h>

extern void dgemm_(const char *ta, const char *tb, const int *m, const int *n, const int *k, const double *alpha, const double *a,
                   const int *lda, const double *b, const int *ldb, const double *beta, double *c, const int *ldc);

int main(int argc, char **argv) {
    const int n = argc > 1 ? atoi(argv[1]) : 512;
    if (n < 1 || n > 8192) {
        fprintf(stderr, "usage: dgemm N, N from 1 to 8192\n");
        return 2;
    }
    const size_t count = (size_t)n * n;
    double *a = malloc(count * sizeof *a), *b = malloc(count * sizeof *b), *c = calloc(count, sizeof *c);
    if (!a || !b || !c) {
        fprintf(stderr, "dgemm: no memory for three matrices of %d by %d\n", n, n);
        return 1;
    }
    for (size_t i = 0; i < count; i++) {
        a[i] = (double)(i % 7);
        b[i] = (double)(i % 5);
    }
    const double one = 1, zero = 0;
    dgemm_("N", "N", &n, &n, &n, &one, a, &n, b, &n, &zero, c, &n);
    printf("%g\n", c[count - 1]);
    return 0;
}
