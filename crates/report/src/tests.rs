mod axes;
mod pages;
mod texts;
