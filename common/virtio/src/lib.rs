//! Virtqueues in both roles, feature negotiation, device status and the transports.
#![no_std]
