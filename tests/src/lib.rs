//! What the tests are made of: the rules of the architecture, traffic and logs of invented towns, and the lab
//! of network namespaces in which the real programs run. Nobody ships this.

pub mod architecture;
pub mod capture_file;
pub mod container;
pub mod exchange;
pub mod fuzzing;
pub mod invented;
pub mod netlab;
pub mod player;
pub mod scene;
pub mod seed;
pub mod story;
