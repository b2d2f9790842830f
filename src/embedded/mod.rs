//! Everything that makes `make run` a whole exchange without configuration.

pub mod catalogue;
pub mod demo;
pub mod kakao;
pub mod lock;
pub mod postgres;
