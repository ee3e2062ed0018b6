//! The derive macro for modules of Vorpal.

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::quote;
use syn::{Data, DeriveInput, Fields, LitStr, parse_macro_input};

/// Makes a struct a `Module`: every field is one, tensors being parameters. Implements `Module`, `Tree` and
/// `Tensors`.
///
/// A field is known to checkpoints by its name, or by another one: `#[module(name = "0")]`. A field that is no
/// module is left alone, and copied by `Clone`, with `#[module(skip)]`.
#[proc_macro_derive(Module, attributes(module))]
pub fn derive_module(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand(&input).unwrap_or_else(|error| error.to_compile_error()).into()
}

struct Field {
    /// How it is reached: a name or a number.
    member: Tokens,
    name: String,
    skip: bool,
}

fn fields(input: &DeriveInput) -> syn::Result<Vec<Field>> {
    let Data::Struct(data) = &input.data else {
        return Err(syn::Error::new_spanned(&input.ident, "only a struct can be a Module"));
    };
    let mut out = Vec::new();
    for (place, field) in data.fields.iter().enumerate() {
        let (mut name, mut skip) = (None, false);
        for attribute in field.attrs.iter().filter(|a| a.path().is_ident("module")) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("skip") {
                    skip = true;
                    Ok(())
                } else if meta.path.is_ident("name") {
                    name = Some(meta.value()?.parse::<LitStr>()?.value());
                    Ok(())
                } else {
                    Err(meta.error("expected `skip` or `name = \"…\"`"))
                }
            })?;
        }
        let (member, own) = match &field.ident {
            Some(ident) => (quote!(#ident), ident.to_string()),
            None => {
                let index = syn::Index::from(place);
                (quote!(#index), place.to_string())
            }
        };
        out.push(Field { member, name: name.unwrap_or(own), skip });
    }
    Ok(out)
}

/// Path of the crate that has `Module`: the crate itself where the package names it, else the facade.
fn home() -> Tokens {
    let folder = std::env::var_os("CARGO_MANIFEST_DIR").map(std::path::PathBuf::from).unwrap_or_default();
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
    if manifest.contains("vorpal-nn") { quote!(::vorpal_nn) } else { quote!(::vorpal::nn) }
}

fn expand(input: &DeriveInput) -> syn::Result<Tokens> {
    let all = fields(input)?;
    let ident = &input.ident;
    let (generics, arguments, bounds) = input.generics.split_for_impl();
    let nn = home();
    let modules: Vec<&Field> = all.iter().filter(|f| !f.skip).collect();
    let members: Vec<&Tokens> = modules.iter().map(|f| &f.member).collect();
    let names: Vec<&String> = modules.iter().map(|f| &f.name).collect();
    let mapped = all.iter().map(|f| {
        let member = &f.member;
        if f.skip {
            quote!(#member: ::core::clone::Clone::clone(&self.#member))
        } else {
            quote!(#member: #nn::Tree::map(&self.#member, f))
        }
    });
    let unit = matches!(&input.data, Data::Struct(data) if matches!(data.fields, Fields::Unit));
    let body = if unit { quote!(#ident) } else { quote!(#ident { #(#mapped),* }) };
    Ok(quote! {
        impl #generics #nn::Tensors for #ident #arguments #bounds {
            fn visit(&self, f: &mut dyn FnMut(&#nn::Tensor)) {
                let _ = &f;
                #(#nn::Tensors::visit(&self.#members, f);)*
            }
        }
        impl #generics #nn::Tree for #ident #arguments #bounds {
            fn map(&self, f: &mut dyn FnMut(&#nn::Tensor) -> #nn::Tensor) -> Self {
                let _ = &f;
                #body
            }
        }
        impl #generics #nn::Module for #ident #arguments #bounds {
            fn walk(&self, path: &str, f: &mut dyn FnMut(&str, #nn::Role, &#nn::Tensor)) {
                let _ = (path, &f);
                #(#nn::Module::walk(&self.#members, &#nn::join(path, #names), f);)*
            }
            fn walk_mut(
                &mut self,
                path: &str,
                f: &mut dyn FnMut(&str, #nn::Role, &mut #nn::Tensor),
            ) {
                let _ = (path, &f);
                #(#nn::Module::walk_mut(&mut self.#members, &#nn::join(path, #names), f);)*
            }
            fn train(&self, on: bool) {
                let _ = on;
                #(#nn::Module::train(&self.#members, on);)*
            }
        }
    })
}
