//! Which devices a container may open and make: it may make device nodes, but none
//! of the host's disks. The rule stands at a cgroup above its own, where nothing inside
//! can change it.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{FileType, fstat, major, minor};

use crate::mounts::devices::NODES;
use crate::sys::bpf::{Instruction, attach_device_program};

/// Major numbers of pseudo terminals (Linux allocated devices, 136 to 143).
const TERMINALS: std::ops::RangeInclusive<u32> = 136..=143;
/// /dev/console, /dev/ptmx and /dev/fuse.
const FURTHER: [(u32, u32); 3] = [(5, 1), (5, 2), (10, 229)];

/// Kinds of devices in the program's context.
const BLOCK: i32 = 1;
const CHARACTER: i32 = 2;
/// Offsets in `struct bpf_cgroup_dev_ctx`.
const ACCESS_AND_KIND: i16 = 0;
const MAJOR: i16 = 4;
const MINOR: i16 = 8;

const LOAD_WORD: u8 = 0x61;
const AND: u8 = 0x57;
const MOVE: u8 = 0xb7;
const JUMP_NOT_EQUAL: u8 = 0x55;
const EXIT: u8 = 0x95;

/// Registers: the result, and where the program keeps what it compares.
const RESULT: u8 = 0;
const KIND_REGISTER: u8 = 2;
const MAJOR_REGISTER: u8 = 3;
const MINOR_REGISTER: u8 = 4;

/// A device, or all minor numbers of a major one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    kind: i32,
    major: u32,
    minor: Option<u32>,
}

impl Device {
    /// The device that a file is; `None` if it is something else.
    ///
    /// # Errors
    /// As fstat(2).
    pub fn of(file: impl AsFd) -> io::Result<Option<Self>> {
        let stat = fstat(file)?;
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::BlockDevice => BLOCK,
            FileType::CharacterDevice => CHARACTER,
            _ => return Ok(None),
        };
        Ok(Some(Self {
            kind,
            major: major(stat.st_rdev),
            minor: Some(minor(stat.st_rdev)),
        }))
    }

    fn character(major: u32, minor: u32) -> Self {
        Self {
            kind: CHARACTER,
            major,
            minor: Some(minor),
        }
    }
}

/// Lets what runs in `cgroup` use the devices that every container has, and
/// `further` ones, and no others.
///
/// # Errors
/// As bpf(2): the kernel may have been built without such programs.
pub fn apply(cgroup: impl AsFd, further: &[Device]) -> io::Result<()> {
    let nodes = NODES
        .iter()
        .map(|(_, major, minor)| Device::character(*major, *minor))
        .chain(FURTHER.map(|(major, minor)| Device::character(major, minor)));
    let terminals = TERMINALS.map(|major| Device {
        kind: CHARACTER,
        major,
        minor: None,
    });
    // What hides block devices in /run/host is one itself, of no driver.
    let nothing = Device {
        kind: BLOCK,
        major: 0,
        minor: Some(0),
    };
    let devices: Vec<Device> = nodes
        .chain(terminals)
        .chain([nothing])
        .chain(further.iter().copied())
        .collect();
    attach_device_program(cgroup, &program(&devices))
}

fn program(devices: &[Device]) -> Vec<Instruction> {
    let instruction = |code, to: u8, from: u8, offset, immediate| Instruction {
        code,
        registers: to | from << 4,
        offset,
        immediate,
    };
    let load = |to, offset| instruction(LOAD_WORD, to, 1, offset, 0);
    let mut program = vec![
        load(KIND_REGISTER, ACCESS_AND_KIND),
        instruction(AND, KIND_REGISTER, 0, 0, 0xffff),
        load(MAJOR_REGISTER, MAJOR),
        load(MINOR_REGISTER, MINOR),
    ];
    let answer = |allowed| {
        [
            instruction(MOVE, RESULT, 0, 0, allowed),
            instruction(EXIT, 0, 0, 0, 0),
        ]
    };
    for device in devices {
        let checks = [
            Some((KIND_REGISTER, device.kind)),
            Some((MAJOR_REGISTER, device.major.cast_signed())),
            device
                .minor
                .map(|minor| (MINOR_REGISTER, minor.cast_signed())),
        ];
        let checks: Vec<(u8, i32)> = checks.into_iter().flatten().collect();
        for (number, (register, value)) in checks.iter().enumerate() {
            // Over the checks that are left, and the answer's two instructions.
            let over = (checks.len() - number - 1 + 2) as i16;
            program.push(instruction(JUMP_NOT_EQUAL, *register, 0, over, *value));
        }
        program.extend(answer(1));
    }
    program.extend(answer(0));
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Does what the kernel would do with the program.
    fn run(program: &[Instruction], kind: u32, major: u32, minor: u32) -> i32 {
        let memory = |offset: i16| match offset {
            0 => kind | 2 << 16,
            4 => major,
            8 => minor,
            other => panic!("no field at {other}"),
        };
        let mut registers = [0u32; 11];
        let mut at = 0usize;
        loop {
            let one = program[at];
            let to = usize::from(one.registers & 0xf);
            at += 1;
            match one.code {
                LOAD_WORD => registers[to] = memory(one.offset),
                AND => registers[to] &= one.immediate as u32,
                MOVE => registers[to] = one.immediate as u32,
                JUMP_NOT_EQUAL if registers[to] != one.immediate as u32 => {
                    at += one.offset as usize;
                }
                JUMP_NOT_EQUAL => {}
                EXIT => return registers[0] as i32,
                other => panic!("unknown operation {other}"),
            }
        }
    }

    #[test]
    fn only_what_is_listed_is_allowed() {
        let listed = [
            Device::character(1, 3),
            Device {
                kind: CHARACTER,
                major: 136,
                minor: None,
            },
            Device {
                kind: BLOCK,
                major: 7,
                minor: Some(1),
            },
        ];
        let program = program(&listed);
        for (kind, major, minor, allowed) in [
            (2, 1, 3, 1),
            (2, 136, 0, 1),
            (2, 136, 77, 1),
            (1, 7, 1, 1),
            (1, 1, 3, 0),
            (2, 1, 4, 0),
            (2, 7, 1, 0),
            (1, 7, 0, 0),
            (1, 254, 0, 0),
            (2, 137, 0, 0),
        ] {
            assert_eq!(
                run(&program, kind, major, minor),
                allowed,
                "{kind} {major}:{minor}"
            );
        }
    }
}
