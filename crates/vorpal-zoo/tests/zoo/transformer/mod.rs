mod golden;
mod image;
mod language;
mod source;
