// What the core gets along with: little stack, and fork.
#pragma once

// Every family, width and sort of input on every instruction set, in threads of 64 KB. Before any other thread of the pool is made.
void small_stacks();
// A child of a process whose pool has threads makes its own.
void forked_children();
