//! Multiplies matrices and prints a checksum of the product: `matmul [SIDE [TIMES]]`.
//!
//! All numbers are of 32 bits and wrap around, so the checksum is the same on every machine.
#![no_std]
#![no_main]

use core::time::Duration;

use sidecore_firmware::{Error, Machine, Remote, image};
use sidecore_images::{Micros, program, usage};

image! { main: main }

/// The longest side. Three such matrices lie on the stack.
const SIDE_MAX: usize = 96;

/// How soon a computation that does not come to an end is found.
const WATCHDOG: Duration = Duration::from_secs(2);

type Matrix = [[u32; SIDE_MAX]; SIDE_MAX];

fn main(remote: Remote) -> Result<i32, Error> {
    program(remote, |connection, console, line| {
        let (Some(side @ 1..=SIDE_MAX), Some(times @ 1..)) =
            (line.number(0, SIDE_MAX), line.number(1, 100_u32))
        else {
            return usage(console, "matmul [SIDE [TIMES]], SIDE from 1 to 96");
        };
        let machine = connection.machine();
        let (a, b) = (matrix(side, 1), matrix(side, 2));
        let mut product = matrix(side, 0);
        machine.arm_watchdog(WATCHDOG);
        let start = machine.now();
        for _ in 0..times {
            multiply(machine, core::hint::black_box(&a), &b, &mut product, side);
        }
        let time = (machine.now() - start) / times;
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let sum = checksum(&product);
        console
            .print(format_args!("{side} x {side}: checksum {sum:08x}, {} each\n", Micros(nanoseconds)))
            .wait()?;
        Ok(0)
    })
}

/// A matrix of this side, zero beyond it, with numbers that depend on the seed alone (0: none).
fn matrix(side: usize, seed: u32) -> Matrix {
    let mut matrix = [[0; SIDE_MAX]; SIDE_MAX];
    let mut number = seed;
    for cell in matrix.iter_mut().take(side).flat_map(|row| row.iter_mut().take(side)) {
        *cell = number;
        number = number.wrapping_mul(1_664_525).wrapping_add(seed.wrapping_mul(1_013_904_223));
    }
    matrix
}

fn multiply(machine: &Machine, a: &Matrix, b: &Matrix, product: &mut Matrix, side: usize) {
    for (row, a_row) in product.iter_mut().zip(a).take(side) {
        machine.feed_watchdog();
        row.fill(0);
        for (factor, b_row) in a_row.iter().zip(b).take(side) {
            for (cell, b_cell) in row.iter_mut().zip(b_row) {
                *cell = cell.wrapping_add(factor.wrapping_mul(*b_cell));
            }
        }
    }
}

/// FNV-1a over the cells, row by row.
fn checksum(matrix: &Matrix) -> u32 {
    matrix.iter().flatten().fold(0x811C_9DC5, |sum, cell| (sum ^ cell).wrapping_mul(0x0100_0193))
}
