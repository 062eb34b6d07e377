//! Every layout that a specification fixes: parse and emit, nothing else.
#![no_std]
