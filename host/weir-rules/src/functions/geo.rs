//! `geo_distance(latitude, longitude, latitude, longitude)`: metres between two places on the earth.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray, Float64Array, PrimitiveArray},
    datatypes::{DataType, Float64Type},
};
use datafusion_common::{Result, exec_err};
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

/// Metres; the mean radius R₁ of the International Union of Geodesy and Geophysics. On the sphere with it distances are
/// within 0.6 % of those on the ellipsoid.
const EARTH_RADIUS: f64 = 6_371_008.8;

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct GeoDistance {
    signature: Signature,
}

impl GeoDistance {
    pub(super) fn new() -> Self {
        Self { signature: Signature::exact(vec![DataType::Float64; 4], Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for GeoDistance {
    fn name(&self) -> &str {
        "geo_distance"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&arguments.args)?;
        let degrees: Vec<&PrimitiveArray<Float64Type>> =
            arrays.iter().filter_map(|array| array.as_primitive_opt()).collect();
        let [from_lat, from_lon, to_lat, to_lon] = degrees.as_slice() else {
            return exec_err!("geo_distance takes four numbers");
        };
        let places = from_lat.iter().zip(from_lon.iter()).zip(to_lat.iter().zip(to_lon.iter()));
        let distances: Float64Array = places
            .map(|((from_lat, from_lon), (to_lat, to_lon))| distance(from_lat?, from_lon?, to_lat?, to_lon?))
            .collect();
        Ok(ColumnarValue::Array(Arc::new(distances) as ArrayRef))
    }
}

/// By the haversine formula, which is exact enough for near places too. `None` for what is no place.
fn distance(from_lat: f64, from_lon: f64, to_lat: f64, to_lon: f64) -> Option<f64> {
    let is_place = |lat: f64, lon: f64| (-90.0..=90.0).contains(&lat) && (-360.0..=360.0).contains(&lon);
    if !is_place(from_lat, from_lon) || !is_place(to_lat, to_lon) {
        return None;
    }
    let half_square = |degrees: f64| (degrees.to_radians() / 2.0).sin().powi(2);
    let haversine = half_square(to_lat - from_lat)
        + from_lat.to_radians().cos() * to_lat.to_radians().cos() * half_square(to_lon - from_lon);
    Some(2.0 * EARTH_RADIUS * haversine.clamp(0.0, 1.0).sqrt().asin())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_places_are_as_far_apart_as_they_are() {
        // Berlin to Paris, and half of a meridian.
        let berlin_paris = distance(52.520_8, 13.409_4, 48.856_6, 2.352_2).unwrap();
        assert!((877_000.0..880_000.0).contains(&berlin_paris), "{berlin_paris}");
        let pole_to_pole = distance(90.0, 0.0, -90.0, 77.0).unwrap();
        assert!((pole_to_pole - std::f64::consts::PI * EARTH_RADIUS).abs() < 1e-6);
        assert_eq!(distance(1.0, 2.0, 1.0, 2.0), Some(0.0));
        // A metre apart, and over the date line.
        let metre = distance(0.0, 0.0, 0.0, 1.0 / 111_195.08).unwrap();
        assert!((metre - 1.0).abs() < 1e-3, "{metre}");
        assert!((distance(0.0, 179.9, 0.0, -179.9).unwrap() - distance(0.0, 0.0, 0.0, 0.2).unwrap()).abs() < 1e-6);
        for (lat, lon) in [(91.0, 0.0), (0.0, 361.0), (f64::NAN, 0.0)] {
            assert_eq!(distance(lat, lon, 0.0, 0.0), None);
        }
    }
}
