mod models;
mod places;
