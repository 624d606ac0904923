// What a committed dashboard has to be, in the types of Grafana's own schema. The schema's enums are written out as the
// strings that JSON has, and each panel's options and fields are those of its type, so that a misspelt key or value is an error.
import type {Dashboard, Panel, RowPanel, DataQuery, FieldConfig, FieldConfigSource, GraphFieldConfig, OptionsWithLegend,
  OptionsWithTooltip, SingleStatBaseOptions, BigValueColorMode, BigValueGraphMode, BigValueJustifyMode, BigValueTextMode,
  PercentChangeColorMode, VizOrientation} from '@grafana/schema';

type Text<T> = T extends string ? `${T}` : T extends number | boolean | null | undefined ? T
  : T extends (infer U)[] ? Text<U>[] : T extends object ? {[K in keyof T]: Text<T[K]>} : T;

interface Query extends DataQuery {
  expr: string; legendFormat?: string; format?: 'time_series' | 'table' | 'heatmap';
  instant?: boolean; range?: boolean; editorMode?: 'code' | 'builder';
}
interface StatOptions extends SingleStatBaseOptions {
  colorMode: BigValueColorMode; graphMode: BigValueGraphMode; justifyMode: BigValueJustifyMode; textMode: BigValueTextMode;
  wideLayout: boolean; showPercentChange: boolean; percentChangeColorMode: PercentChangeColorMode;
}
interface ChartOptions extends OptionsWithLegend, OptionsWithTooltip { orientation?: VizOrientation }
interface TextOptions { mode: 'markdown' | 'html' | 'code'; content: string }

type Shown<Type, Options, Custom> = Text<Omit<Panel, 'type' | 'options' | 'fieldConfig' | 'targets'>> & {
  type: Type; options: Text<Options>; targets?: Query[];
  fieldConfig: Text<Omit<FieldConfigSource, 'defaults'>> & {defaults: Text<Omit<FieldConfig, 'custom'>> & {custom?: Text<Custom>}};
};
type Any = Shown<'stat', StatOptions, never> | Shown<'timeseries', ChartOptions, GraphFieldConfig> | Shown<'text', TextOptions, never>;
type Row = Text<Omit<RowPanel, 'panels'>> & {panels: Any[]};

// An event of Prometheus's has a title made of its labels, which the schema leaves to the datasource.
type Event = Text<Omit<NonNullable<NonNullable<Dashboard['annotations']>['list']>[number], 'target'>> & {target: Query; titleFormat: string};

export type Board = Text<Omit<Dashboard, 'panels' | 'annotations'>> & {
  panels: (Any | Row)[];
  annotations: {list: Event[]};
};
