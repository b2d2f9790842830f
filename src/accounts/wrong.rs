//! What is wrong in what somebody sent, field by field.

/// One field that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongField {
    /// Where, such as `profile_consent`.
    pub field: String,
    /// What must hold instead; never what was sent.
    pub message: String,
}

impl WrongField {
    /// A field with what must hold instead.
    pub fn new(field: &str, message: impl std::fmt::Display) -> WrongField {
        WrongField { field: field.to_owned(), message: message.to_string() }
    }
}

/// Collects what is wrong, so that all of it is told at once.
#[derive(Default)]
pub struct Wrong(Vec<WrongField>);

impl Wrong {
    /// What was made of a field; where nothing could be, its name is kept, and the value stands in
    /// until [`Wrong::none`] refuses.
    pub fn take<T: Default, E: std::fmt::Display>(&mut self, field: &str, made: Result<T, E>) -> T {
        made.unwrap_or_else(|error| {
            self.0.push(WrongField::new(field, error));
            T::default()
        })
    }

    /// # Errors
    /// With every field that was wrong, if any was.
    pub fn none(self) -> Result<(), Vec<WrongField>> {
        if self.0.is_empty() { Ok(()) } else { Err(self.0) }
    }
}
