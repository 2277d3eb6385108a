/* Trains and runs a compiled net from C:

     netlang compile examples/xor.net --native --training -o xor.so
     cc -I. examples/xor.c xor.so -Wl,-rpath,. -o xor
     ./xor */
#include <stdio.h>
#include <stdlib.h>

#include "xor.h"

int main(void) {
  const float a[4] = {0, 0, 1, 1}, b[4] = {0, 1, 0, 1}, y[4] = {0, 1, 1, 0};
  float objective = 0, p[4];

  if (Xor_missing_features()) {
    fprintf(stderr, "xor.so was compiled for another processor\n");
    return 1;
  }
  struct Xor net = *Xor_net(); /* a copy, which may change */
  void *workspace = malloc(Xor_step_workspace(4));
  if (!workspace) return 1;

  for (int step = 0; step < 500; step++) {
    int status = Xor_step(&net, 4, a, b, y, &objective, workspace);
    if (status != NETLANG_OK) return status;
  }
  free(workspace);

  workspace = malloc(Xor_forward_workspace(4));
  if (!workspace || Xor_forward(&net, 4, a, b, p, workspace) != NETLANG_OK) return 1;
  free(workspace);

  printf("%lld steps, objective %.4f\n", (long long)net.steps_done, objective);
  for (int k = 0; k < 4; k++) printf("%g xor %g = %.3f\n", a[k], b[k], p[k]);
  return 0;
}
